use std::net::IpAddr;

use chrono::{TimeDelta, Utc};
use nexa_types::UserId;
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::caller::system_actor;
use super::{App, Database, Error, Result, input, token};
use crate::model::{Actor, Role, User};
use crate::store::{AuditEntry, Store, bootstrap, user};

/// How long a bootstrap token can be used.
const LIFETIME: TimeDelta = TimeDelta::hours(1);

/// Makes the first owner.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BootstrapRequest {
    /// What `nexa-control bootstrap` printed, within the last hour.
    pub token: String,
    /// What the owner signs in with.
    pub username: String,
    /// At least 10 characters.
    #[schema(min_length = 10)]
    pub password: String,
}

impl App {
    /// Makes the first owner, by a token that can be used once, for a request from this address.
    ///
    /// # Errors
    /// `bootstrap_closed` once there is an owner; `bootstrap_token_invalid` for a token that is unknown or past its
    /// time; what is wrong with name or password.
    pub async fn bootstrap(&self, request: BootstrapRequest, address: Option<IpAddr>) -> Result<User> {
        let username = input::username(&request.username)?;
        input::password(&request.password)?;
        let token = token::hash(&request.token);
        self.check_token(&token).await?;
        // Others with the same token may have waited for this turn: asking again spares them the work.
        let turn = self.0.passwords.turn().await?;
        self.check_token(&token).await?;
        let password_hash = turn.hash(request.password).await?;

        // The network's lock makes this and a second token's use happen one after the other.
        let mut change = self.store().visible_change().await?;
        let db = change.connection();
        if user::any_owner(db).await? {
            return Err(closed());
        }
        if !bootstrap::consume(db, &token).await? {
            return Err(invalid_token());
        }
        let owner = user::NewUser {
            id: UserId(Uuid::now_v7()),
            username: &username,
            display_name: &username,
            role: Role::Owner,
            password_hash: &password_hash,
            invited: false,
        };
        let owner = user::insert(db, owner).await?;
        let actor = Actor { address, ..system_actor("bootstrap token") };
        change.commit(AuditEntry::new(&actor, "user.bootstrap", owner.id).after(&owner)).await?;
        Ok(owner)
    }

    async fn check_token(&self, hash: &[u8; 32]) -> Result<()> {
        let mut db = self.store().connection().await?;
        if user::any_owner(&mut db).await? {
            return Err(closed());
        }
        if bootstrap::is_valid(&mut db, hash).await? { Ok(()) } else { Err(invalid_token()) }
    }

    /// Whether there is an owner already.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn has_owner(&self) -> Result<bool> {
        Ok(user::any_owner(&mut *self.store().connection().await?).await?)
    }

    /// Makes a bootstrap token in the place of any earlier one.
    ///
    /// # Errors
    /// `bootstrap_closed` once there is an owner; when the database is away.
    pub async fn make_bootstrap_token(database: &Database) -> anyhow::Result<String> {
        let store = Store::new(&database.url, 1)?;
        super::prepare(&store).await?;
        let (token, hash) = token::new()?;
        let mut change = store.visible_change().await?;
        let db = change.connection();
        if user::any_owner(db).await? {
            return Err(closed().into());
        }
        let expires_at = Utc::now() + LIFETIME;
        bootstrap::replace(db, &hash, expires_at).await?;
        let actor = system_actor("nexa-control bootstrap");
        let entry = AuditEntry::new(&actor, "bootstrap_token.create", "bootstrap");
        change.commit(entry.after(&serde_json::json!({ "expires_at": expires_at }))).await?;
        store.close().await;
        Ok(token)
    }
}

fn closed() -> Error {
    Error::conflict("bootstrap_closed", "there is an owner already; sign in, or ask an owner for an account")
}

fn invalid_token() -> Error {
    let detail =
        "this bootstrap token is unknown, used, or older than an hour; make one by `nexa-control bootstrap`";
    Error::forbidden("bootstrap_token_invalid", detail)
}
