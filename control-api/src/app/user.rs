use chrono::Utc;
use nexa_types::UserId;
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::device::ADDRESS_REST;
use super::error::Meaning as _;
use super::page::Window;
use super::rule::is_named;
use super::{Admin, Caller, Error, Reader, Result, input, token};
use crate::model::{Page, PageQuery, Role, User};
use crate::store::one_time_token::Purpose;
use crate::store::{AuditEntry, Db, device, one_time_token, session, user};

/// A user to make.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateUser {
    /// What the user signs in with: 1 to 64 letters, digits and `. _ - + @`.
    pub username: String,
    /// How others see the user; the username where it is left out.
    #[schema(nullable = false)]
    pub display_name: Option<String>,
    /// At least 10 characters. Where it is left out the user is invited: he sets one by a link from
    /// POST /api/v1/users/{id}/password-link.
    #[schema(nullable = false, min_length = 10)]
    pub password: Option<String>,
    /// `user` where it is left out. Only an owner makes owners.
    #[schema(nullable = false)]
    pub role: Option<Role>,
}

/// What to change of a user; what is left out stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateUser {
    /// How others see the user.
    #[schema(nullable = false)]
    pub display_name: Option<String>,
    /// What the user may do. Only an owner makes owners, or changes them.
    #[schema(nullable = false)]
    pub role: Option<Role>,
    /// Disabling ends the user's sessions, and the tunnels of his devices.
    #[schema(nullable = false)]
    pub disabled: Option<bool>,
    /// A new password, of at least 10 characters. Ends the user's sessions.
    #[schema(nullable = false, min_length = 10)]
    pub password: Option<String>,
}

impl Caller {
    /// A user: anyone for an auditor, oneself for a user.
    ///
    /// # Errors
    /// [`Error::NotFound`], for a user also where it is another.
    pub async fn user(&self, id: UserId) -> Result<User> {
        if id != self.user.id && self.user.role < Role::Auditor {
            return Err(Error::NotFound("user"));
        }
        user::get(&mut *self.store().connection().await?, id).await?.ok_or(Error::NotFound("user"))
    }
}

impl Reader {
    /// Users, oldest first.
    ///
    /// # Errors
    /// What is wrong with the query.
    pub async fn users(&self, query: &PageQuery) -> Result<Page<User>> {
        let window = Window::<Uuid>::of(query)?;
        let mut db = self.store().connection().await?;
        let users = user::page(&mut db, window.cursor.unwrap_or_default(), window.rows()).await?;
        Ok(window.page(users, |user| user.id.to_string()))
    }
}

impl Admin {
    /// Makes a user.
    ///
    /// # Errors
    /// What is wrong with the request; `name_taken`; `role_too_high` for a role above the caller's.
    pub async fn create_user(&self, request: CreateUser) -> Result<User> {
        let username = input::username(&request.username)?;
        let display_name = input::name("display_name", request.display_name.as_ref().unwrap_or(&username))?;
        request.password.as_deref().map_or(Ok(()), input::password)?;
        let role = request.role.unwrap_or(Role::User);
        self.may_give(role)?;
        let invited = request.password.is_none();
        // An invited user has one, too, which nobody knows: so nothing has to tell the two apart when he signs in.
        let password = request.password.map_or_else(|| Ok(token::new()?.0), Ok::<_, Error>)?;
        let password_hash = self.app().0.passwords.hash(password).await?;
        let mut change = self.store().change().await?;
        let id = UserId(Uuid::now_v7());
        let new = user::NewUser {
            id,
            username: &username,
            display_name: &display_name,
            role,
            password_hash: &password_hash,
            invited,
        };
        let user = user::insert(change.connection(), new).await;
        let user = user.when_violates("users_username", || Error::name_taken("username"))?;
        change.commit(AuditEntry::new(&self.actor(), "user.create", id).after(&user)).await?;
        Ok(user)
    }

    /// Changes a user.
    ///
    /// # Errors
    /// What is wrong with the request; `role_too_high` where user or new role are above the caller's; `last_owner`.
    pub async fn update_user(&self, id: UserId, request: UpdateUser) -> Result<User> {
        let display_name =
            request.display_name.as_deref().map(|text| input::name("display_name", text)).transpose()?;
        request.role.map_or(Ok(()), |role| self.may_give(role))?;
        let password_hash = match request.password {
            Some(password) => {
                input::password(&password)?;
                Some(self.app().0.passwords.hash(password).await?)
            }
            None => None,
        };
        // Gateways see a user's name and whether he is served, and nothing else of him.
        let seen = display_name.is_some() || request.disabled.is_some();
        let mut change =
            if seen { self.store().visible_change().await? } else { self.store().ordered_change().await? };
        let db = change.connection();
        let before = user::lock(db, id).await?.ok_or(Error::NotFound("user"))?;
        self.may_give(before.role)?;
        let mut after = before.clone();
        after.display_name = display_name.unwrap_or(after.display_name);
        after.role = request.role.unwrap_or(after.role);
        after.disabled = request.disabled.unwrap_or(after.disabled);
        if after == before && password_hash.is_none() {
            return Ok(after);
        }
        user::update(db, &after).await?;
        self.keep_an_owner(db, &before).await?;
        if let Some(hash) = &password_hash {
            user::set_password(db, id, hash).await?;
            one_time_token::delete_of_user(db, Purpose::SetPassword, id).await?;
            after.invited = false;
        }
        if after.disabled || password_hash.is_some() {
            session::delete_of_user(db, id).await?;
        }
        let action = if after == (User { invited: after.invited, ..before.clone() }) {
            "user.set_password"
        } else {
            "user.update"
        };
        change.commit(AuditEntry::new(&self.actor(), action, id).before(&before).after(&after)).await?;
        Ok(after)
    }

    /// Removes a user with all his devices.
    ///
    /// # Errors
    /// `last_owner`; `in_use` while a rule or a resource names the user or one of his devices; `role_too_high`.
    pub async fn delete_user(&self, id: UserId) -> Result<()> {
        let mut change = self.store().visible_change().await?;
        let db = change.connection();
        let before = user::lock(db, id).await?.ok_or(Error::NotFound("user"))?;
        self.may_give(before.role)?;
        is_named(db, id.0).await?;
        device::rest(db, id.0, Utc::now() + ADDRESS_REST).await?;
        user::delete(db, id).await?;
        self.keep_an_owner(db, &before).await?;
        Ok(change.commit(AuditEntry::new(&self.actor(), "user.delete", id).before(&before)).await?)
    }

    /// A role never grants, or touches, more than it has.
    pub(super) fn may_give(&self, role: Role) -> Result<()> {
        if role <= self.role() {
            return Ok(());
        }
        Err(Error::forbidden("role_too_high", "only an owner makes, changes or removes owners; ask one"))
    }

    /// After a change to `changed`: refuses it where no owner is left who can sign in.
    async fn keep_an_owner(&self, db: &mut Db, changed: &User) -> Result<()> {
        if changed.role == Role::Owner && user::active_owners(db).await? == 0 {
            let detail = "this is the last owner who can sign in; make another user an owner first";
            return Err(Error::conflict("last_owner", detail));
        }
        Ok(())
    }
}
