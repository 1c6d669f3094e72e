use std::net::IpAddr;

use anyhow::{Context as _, bail};
use chrono::{SubsecRound as _, TimeDelta, Utc};
use nexa_types::UserId;
use serde::Deserialize;
use utoipa::ToSchema;

use super::caller::{system_actor, user_actor};
use super::{Admin, App, Database, Error, Result, input, token};
use crate::model::PasswordLink;
use crate::store::one_time_token::Purpose;
use crate::store::{AuditEntry, Db, Store, one_time_token, session, user};

/// How long a link can be used.
const LIFETIME: TimeDelta = TimeDelta::hours(72);

/// A password to set by a link.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetPassword {
    /// The token of the link.
    pub token: String,
    /// At least 10 characters.
    #[schema(min_length = 10)]
    pub password: String,
}

impl Admin {
    /// Makes a link by which a user sets a password, in the place of an earlier one. What the user has stays until then.
    ///
    /// # Errors
    /// [`Error::NotFound`]; `role_too_high`; `user_disabled`.
    pub async fn make_password_link(&self, id: UserId) -> Result<PasswordLink> {
        let mut change = self.store().change().await?;
        let found = user::lock(change.connection(), id).await?.ok_or(Error::NotFound("user"))?;
        self.may_give(found.role)?;
        if found.disabled {
            return Err(Error::conflict("user_disabled", "this user is disabled; enable him first"));
        }
        let link = make_link(change.connection(), id).await?;
        let after = serde_json::json!({ "expires_at": link.expires_at });
        change.commit(AuditEntry::new(&self.actor(), "user.make_password_link", id).after(&after)).await?;
        Ok(link)
    }
}

impl App {
    /// Sets a password by a link, which is used up; ends the user's sessions. For a request from this address.
    ///
    /// # Errors
    /// `password_link_invalid`; what is wrong with the password.
    pub async fn set_password(&self, request: SetPassword, address: Option<IpAddr>) -> Result<()> {
        let hash = token::hash(&request.token);
        one_time_token::user(&mut *self.store().connection().await?, Purpose::SetPassword, &hash)
            .await?
            .ok_or_else(invalid)?;
        input::password(&request.password)?;
        let turn = self.0.passwords.turn().await?;
        // Others with the same link may have waited for this turn: asking again spares them the work.
        one_time_token::user(&mut *self.store().connection().await?, Purpose::SetPassword, &hash)
            .await?
            .ok_or_else(invalid)?;
        let password_hash = turn.hash(request.password).await?;
        let mut change = self.store().ordered_change().await?;
        let db = change.connection();
        let id = one_time_token::user(db, Purpose::SetPassword, &hash).await?.ok_or_else(invalid)?;
        let before = user::lock(db, id).await?.ok_or_else(invalid)?;
        if !one_time_token::consume(db, Purpose::SetPassword, &hash).await? {
            return Err(invalid());
        }
        user::set_password(db, id, &password_hash).await?;
        session::delete_of_user(db, id).await?;
        let after = user::get(db, id).await?.ok_or_else(invalid)?;
        let entry = AuditEntry::new(&user_actor(&before, address), "user.set_password", id);
        Ok(change.commit(entry.before(&before).after(&after)).await?)
    }
}

/// Makes a link for an owner who cannot sign in any more, and enables him. `username` may be left out where there is
/// only one. For whoever reaches the database, which is more than an owner can.
///
/// # Errors
/// When there is no such owner, or several and none is named; when the database is away.
pub async fn reset_owner(database: &Database, username: Option<&str>) -> anyhow::Result<String> {
    let store = Store::new(&database.url, 1)?;
    super::prepare(&store).await?;
    let mut change = store.visible_change().await?;
    let db = change.connection();
    let owners = user::owners(db).await?;
    let names = owners.iter().map(|owner| &*owner.username).collect::<Vec<_>>().join(", ");
    let found = match username {
        Some(name) => {
            let found = owners.into_iter().find(|owner| owner.username.eq_ignore_ascii_case(name));
            found.with_context(|| format!("no owner is named {name}; there are: {names}"))?
        }
        None if owners.len() > 1 => bail!("name one of the owners by --username: {names}"),
        None => owners.into_iter().next().context("there is no owner yet; run `nexa-control bootstrap`")?,
    };
    let mut after = found.clone();
    after.disabled = false;
    user::update(db, &after).await?;
    let link = make_link(db, found.id).await?;
    let actor = system_actor("nexa-control reset-owner");
    change.commit(AuditEntry::new(&actor, "user.reset_owner", found.id).before(&found).after(&after)).await?;
    store.close().await;
    Ok(link.token)
}

/// Makes a link in the place of an earlier one. The user's row is locked.
async fn make_link(db: &mut Db, user: UserId) -> Result<PasswordLink> {
    let (token, hash) = token::new()?;
    let expires_at = (Utc::now() + LIFETIME).trunc_subsecs(6);
    one_time_token::delete_of_user(db, Purpose::SetPassword, user).await?;
    one_time_token::insert(db, Purpose::SetPassword, user, &hash, expires_at).await?;
    Ok(PasswordLink { token, expires_at })
}

fn invalid() -> Error {
    let detail = "this link is unknown, used, or past its time; ask an administrator for a new one";
    Error::forbidden("password_link_invalid", detail)
}
