use std::net::IpAddr;

use chrono::{SubsecRound as _, TimeDelta, Utc};
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::caller::user_actor;
use super::{App, Caller, Error, Result, input, token};
use crate::model::Session;
use crate::store::{AuditEntry, session, user};

/// How long a session lasts.
const LIFETIME: TimeDelta = TimeDelta::hours(12);

/// Who signs in.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignIn {
    /// The user's name; its case does not matter.
    pub username: String,
    /// The user's password.
    pub password: String,
}

impl App {
    /// Begins a session, for a request from this address.
    ///
    /// # Errors
    /// `bad_credentials`, the same and after the same time whether the name, the password or a disabled user is why.
    pub async fn sign_in(&self, request: SignIn, address: Option<IpAddr>) -> Result<Session> {
        // What cannot be a name is nobody's, and some of it Postgres would not even take as text.
        let known = match input::username(&request.username) {
            Ok(name) => user::credentials(&mut *self.store().connection().await?, &name).await?,
            Err(_) => None,
        };
        let hash = known.as_ref().map(|(_, hash)| hash.clone());
        let fits = self.0.passwords.verify(request.password, hash).await?;
        let Some((id, password_hash)) = known.filter(|_| fits) else { return Err(bad_credentials()) };

        let (token, token_hash) = token::new()?;
        let expires_at = (Utc::now() + LIFETIME).trunc_subsecs(6);
        let session_id = Uuid::now_v7();
        let mut change = self.store().change().await?;
        let db = change.connection();
        let session = session::NewSession {
            id: session_id,
            token_hash: &token_hash,
            user: id,
            password_hash: &password_hash,
            expires_at,
        };
        if !session::insert(db, session).await? {
            return Err(bad_credentials());
        }
        let user = user::get(db, id).await?.ok_or_else(bad_credentials)?;
        let actor = user_actor(&user, address);
        let after = serde_json::json!({ "expires_at": expires_at });
        change.commit(AuditEntry::new(&actor, "session.create", session_id).after(&after)).await?;
        Ok(Session { token, expires_at, user })
    }
}

impl Caller {
    /// Ends the caller's session.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn sign_out(self) -> Result<()> {
        let mut change = self.store().change().await?;
        if session::delete(change.connection(), self.session).await? {
            change.commit(AuditEntry::new(&self.actor(), "session.delete", self.session)).await?;
        }
        Ok(())
    }
}

fn bad_credentials() -> Error {
    Error::Unauthenticated { code: "bad_credentials", detail: "name or password is wrong; check both" }
}
