use std::net::IpAddr;

use uuid::Uuid;

use super::{App, Error, Result, api_token, token};
use crate::model::{Actor, ActorKind, Role, Scope, User};
use crate::store::{self, Store, device::Owned, session};

/// A signed-in user, or a program with a token of his. Only [`App::caller`] makes one, so whoever holds it has been
/// authorized.
pub struct Caller {
    pub(super) app: App,
    pub(super) user: User,
    credential: Credential,
    address: Option<IpAddr>,
}

/// Somebody who may see everything: an auditor, or whoever may do more. Only [`Caller::reader`] makes one.
pub struct Reader(Caller);

/// An administrator or owner. Only [`Caller::admin`] makes one.
pub struct Admin(Caller);

/// What a request touches.
#[derive(Clone, Copy, Debug)]
pub struct Touch<'a> {
    /// The noun of the route: `rules` in `/api/v1/rules/{id}`.
    pub noun: &'a str,
    /// Whether it only reads.
    pub reads: bool,
}

/// What a caller has shown.
#[derive(Clone, Copy)]
enum Credential {
    Session(Uuid),
    ApiToken(Uuid),
}

impl Touch<'_> {
    /// The scope that a token needs for it; `None` for what no token may do: a program signs nobody in or out, and
    /// makes no tokens.
    fn scope(self) -> Option<Scope> {
        match (self.noun, self.reads) {
            (
                "me" | "users" | "groups" | "resources" | "rules" | "devices" | "gateways" | "network"
                | "drops" | "audit",
                true,
            ) => Some(Scope::Read),
            ("users" | "groups", false) => Some(Scope::UsersWrite),
            ("resources" | "rules", false) => Some(Scope::PolicyWrite),
            ("devices", false) => Some(Scope::DevicesWrite),
            ("gateways" | "network", false) => Some(Scope::GatewaysWrite),
            _ => None,
        }
    }
}

impl App {
    /// Finds out who holds a session's or a program's token, in a request from this address.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] where nobody has it, or it or its user is no longer valid; `scope_missing` and
    /// `session_required` for what a program's token may not do.
    pub async fn caller(&self, text: &str, address: Option<IpAddr>, touch: Touch<'_>) -> Result<Caller> {
        let mut db = self.store().connection().await?;
        let hash = token::hash(text);
        let (credential, user) = if text.starts_with(api_token::PREFIX) {
            let found = store::api_token::authenticate(&mut db, &hash).await?;
            let (id, scopes, user) = found.ok_or(Error::Unauthenticated {
                code: "unauthenticated",
                detail: "this token has ended, or never was; make one by POST /api/v1/api-tokens",
            })?;
            within(&scopes, touch)?;
            (Credential::ApiToken(id), user)
        } else {
            let found = session::find(&mut db, &hash).await?;
            let (id, user) = found.ok_or(Error::Unauthenticated {
                code: "unauthenticated",
                detail: "this session has ended; sign in again by POST /api/v1/sessions",
            })?;
            (Credential::Session(id), user)
        };
        Ok(Caller { app: self.clone(), user, credential, address })
    }
}

fn within(scopes: &[Scope], touch: Touch<'_>) -> Result<()> {
    let needed = touch.scope().ok_or_else(|| {
        let detail = "no program may do this; sign in by POST /api/v1/sessions, and use that session's token";
        Error::forbidden("session_required", detail)
    })?;
    if scopes.contains(&needed) {
        return Ok(());
    }
    let name = serde_json::to_value(needed).unwrap_or_default();
    let detail =
        format!("this token has not the scope {name}; make one that has it by POST /api/v1/api-tokens");
    Err(Error::forbidden("scope_missing", detail))
}

impl Caller {
    /// The rights of whoever may see everything.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for a plain user.
    pub fn reader(self) -> Result<Reader> {
        if self.user.role >= Role::Auditor {
            return Ok(Reader(self));
        }
        Err(Error::forbidden("auditor_required", "only an auditor or administrator may see this; ask one"))
    }

    /// The rights of an administrator.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for everybody below.
    pub fn admin(self) -> Result<Admin> {
        if self.is_admin() {
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

    pub(super) fn is_operator(&self) -> bool {
        self.user.role >= Role::Operator
    }

    /// What the caller may know of: everybody's for an auditor, one's own for a user.
    pub(super) fn seen(&self) -> Owned {
        if self.user.role >= Role::Auditor { Owned::ByAnyone } else { Owned::By(self.user.id) }
    }

    /// The session that the request came by; a program has none.
    pub(super) fn session(&self) -> Option<Uuid> {
        match self.credential {
            Credential::Session(id) => Some(id),
            Credential::ApiToken(_) => None,
        }
    }

    pub(super) fn store(&self) -> &Store {
        self.app.store()
    }

    /// How audit rows name the caller: a program by its token, too.
    pub(super) fn actor(&self) -> Actor {
        let token = match self.credential {
            Credential::Session(_) => None,
            Credential::ApiToken(id) => Some(id),
        };
        Actor { token, ..user_actor(&self.user, self.address) }
    }
}

impl Reader {
    pub(super) fn store(&self) -> &Store {
        self.0.store()
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
    Actor { kind: ActorKind::User, id: Some(user.id.0), name: user.username.clone(), address, token: None }
}

/// The control plane itself, as an audit row names it.
pub(super) fn system_actor(name: &str) -> Actor {
    Actor { kind: ActorKind::System, id: None, name: name.to_owned(), address: None, token: None }
}
