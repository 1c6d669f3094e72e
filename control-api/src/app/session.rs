use std::net::IpAddr;

use chrono::{SubsecRound as _, TimeDelta, Utc};
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::caller::user_actor;
use super::page::Window;
use super::{App, Caller, Error, Result, input, token};
use crate::model::{ActiveSession, Page, PageQuery, Session};
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
    /// [`Error::TooMany`]; `bad_credentials`, the same and after the same time whether the name, the password or a disabled user is why.
    pub async fn sign_in(&self, request: SignIn, address: Option<IpAddr>) -> Result<Session> {
        self.0.sign_ins.attempt(&request.username, address)?;
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
            address,
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
        let Some(id) = self.session() else { return Ok(()) };
        let mut change = self.store().change().await?;
        if session::delete(change.connection(), id).await? {
            change.commit(AuditEntry::new(&self.actor(), "session.delete", id)).await?;
        }
        Ok(())
    }

    /// Sessions that last, oldest first: everybody's for an auditor, one's own for a user.
    ///
    /// # Errors
    /// What is wrong with the query.
    pub async fn sessions(&self, query: &PageQuery) -> Result<Page<ActiveSession>> {
        let window = Window::<Uuid>::of(query)?;
        let mut db = self.store().connection().await?;
        let mut sessions =
            session::page(&mut db, self.seen(), window.cursor.unwrap_or_default(), window.rows()).await?;
        for session in &mut sessions {
            session.current = Some(session.id) == self.session();
        }
        Ok(window.page(sessions, |session| session.id.to_string()))
    }

    /// Ends a session at once.
    ///
    /// # Errors
    /// [`Error::NotFound`], also for another user's where the caller may not know of it; `admin_required` where he may.
    pub async fn revoke_session(&self, id: Uuid) -> Result<()> {
        let mut change = self.store().change().await?;
        let db = change.connection();
        let before = session::get(db, id, self.seen()).await?.ok_or(Error::NotFound("session"))?;
        if before.user_id != self.user.id && !self.is_admin() {
            let detail = "only an administrator ends the sessions of others; ask one";
            return Err(Error::forbidden("admin_required", detail));
        }
        if !session::delete(db, id).await? {
            return Err(Error::NotFound("session"));
        }
        Ok(change.commit(AuditEntry::new(&self.actor(), "session.delete", id).before(&before)).await?)
    }
}

fn bad_credentials() -> Error {
    Error::Unauthenticated { code: "bad_credentials", detail: "name or password is wrong; check both" }
}
