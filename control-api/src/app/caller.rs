use std::net::IpAddr;

use uuid::Uuid;

use super::{App, Error, Result, token};
use crate::model::{Actor, ActorKind, Role, User};
use crate::store::{Store, session};

/// A signed-in user. Only [`App::caller`] makes one, so whoever holds it has been authorized.
pub struct Caller {
    pub(super) app: App,
    pub(super) user: User,
    pub(super) session: Uuid,
    address: Option<IpAddr>,
}

/// A signed-in administrator or owner. Only [`Caller::admin`] makes one.
pub struct Admin(Caller);

impl App {
    /// Finds out who holds a session token, in a request from this address.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] where no session has it, or the session or its user is no longer valid.
    pub async fn caller(&self, session_token: &str, address: Option<IpAddr>) -> Result<Caller> {
        let mut db = self.store().connection().await?;
        let found = session::find(&mut db, &token::hash(session_token)).await?;
        let (session, user) = found.ok_or(Error::Unauthenticated {
            code: "unauthenticated",
            detail: "this session has ended; sign in again by POST /api/v1/sessions",
        })?;
        Ok(Caller { app: self.clone(), user, session, address })
    }
}

impl Caller {
    /// The rights of an administrator.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for a plain user.
    pub fn admin(self) -> Result<Admin> {
        if self.user.role >= Role::Admin {
            return Ok(Admin(self));
        }
        Err(Error::forbidden("admin_required", "only an administrator may do this; ask one"))
    }

    /// Who is signed in.
    pub fn me(&self) -> &User {
        &self.user
    }

    pub(super) fn is_admin(&self) -> bool {
        self.user.role >= Role::Admin
    }

    pub(super) fn store(&self) -> &Store {
        self.app.store()
    }

    pub(super) fn actor(&self) -> Actor {
        user_actor(&self.user, self.address)
    }
}

impl Admin {
    pub(super) fn role(&self) -> Role {
        self.0.user.role
    }

    pub(super) fn app(&self) -> &App {
        &self.0.app
    }

    pub(super) fn store(&self) -> &Store {
        self.0.store()
    }

    pub(super) fn actor(&self) -> Actor {
        self.0.actor()
    }
}

/// A user as an audit row names him.
pub(super) fn user_actor(user: &User, address: Option<IpAddr>) -> Actor {
    Actor { kind: ActorKind::User, id: Some(user.id.0), name: user.username.clone(), address }
}

/// The control plane itself, as an audit row names it.
pub(super) fn system_actor(name: &str) -> Actor {
    Actor { kind: ActorKind::System, id: None, name: name.to_owned(), address: None }
}
