use std::net::IpAddr;

use chrono::{SubsecRound as _, TimeDelta, Utc};
use nexa_types::UserId;
use serde::Deserialize;
use utoipa::ToSchema;

use super::caller::user_actor;
use super::device::{self, EnrolRequest};
use super::{App, Caller, Error, Result, profile, token};
use crate::model::{Enrolled, EnrolmentToken};
use crate::store::one_time_token::Purpose;
use crate::store::{AuditEntry, one_time_token, user};

/// How long a token can be used.
const LIFETIME: TimeDelta = TimeDelta::hours(24);
/// How many a user may have at a time.
const MAX_PER_USER: i64 = 100;

/// A device to enrol by a token.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EnrolByToken {
    /// What POST /api/v1/users/{id}/enrolment-tokens gave.
    pub token: String,
    /// 1 to 63 printable characters.
    pub name: String,
    /// What `wg pubkey` prints. The private key stays on the device.
    #[schema(example = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=")]
    pub public_key: String,
}

impl Caller {
    /// Makes a token by which one device is enrolled for a user: oneself, or anybody below an administrator's role.
    ///
    /// # Errors
    /// [`Error::NotFound`]; `admin_required`; `role_too_high`; `user_disabled`; `too_many_tokens`.
    pub async fn make_enrolment_token(&self, id: UserId) -> Result<EnrolmentToken> {
        if id != self.user.id && !self.is_admin() {
            // Who may not know of another user learns nothing.
            self.user(id).await?;
            let detail = "only an administrator enrols devices for others; ask one";
            return Err(Error::forbidden("admin_required", detail));
        }
        let (token, hash) = token::new()?;
        let expires_at = (Utc::now() + LIFETIME).trunc_subsecs(6);
        let mut change = self.store().change().await?;
        let db = change.connection();
        let found = user::lock(db, id).await?.ok_or(Error::NotFound("user"))?;
        // A device of his has his rights.
        if found.role > self.user.role {
            return Err(Error::forbidden(
                "role_too_high",
                "only an owner enrols devices for owners; ask one",
            ));
        }
        if found.disabled {
            return Err(Error::conflict("user_disabled", "this user is disabled; enable him first"));
        }
        if one_time_token::count(db, Purpose::EnrolDevice, id).await? >= MAX_PER_USER {
            let detail =
                format!("{MAX_PER_USER} tokens are all that one user may have; use some, or wait a day");
            return Err(Error::conflict("too_many_tokens", detail));
        }
        one_time_token::insert(db, Purpose::EnrolDevice, id, &hash, expires_at).await?;
        let after = serde_json::json!({ "expires_at": expires_at });
        change.commit(AuditEntry::new(&self.actor(), "user.make_enrolment_token", id).after(&after)).await?;
        Ok(EnrolmentToken { token, expires_at })
    }
}

impl App {
    /// Enrols a device by a token, which is used up, for a request from this address.
    ///
    /// # Errors
    /// `enrolment_token_invalid`; what is wrong with the request, which leaves the token as it is; `name_taken`;
    /// `public_key_taken`; `pool_exhausted`.
    pub async fn enrol_by_token(&self, request: &EnrolByToken, address: Option<IpAddr>) -> Result<Enrolled> {
        let hash = token::hash(&request.token);
        one_time_token::user(&mut *self.store().connection().await?, Purpose::EnrolDevice, &hash)
            .await?
            .ok_or_else(invalid)?;
        let EnrolByToken { name, public_key, .. } = request;
        let new = EnrolRequest { name: name.clone(), public_key: public_key.clone() }.check()?;
        let mut change = self.store().visible_change().await?;
        let db = change.connection();
        let id = one_time_token::user(db, Purpose::EnrolDevice, &hash).await?.ok_or_else(invalid)?;
        let owner = user::get(db, id).await?.ok_or_else(invalid)?;
        if !one_time_token::consume(db, Purpose::EnrolDevice, &hash).await? {
            return Err(invalid());
        }
        let device = device::insert(db, id, new).await?;
        let actor = user_actor(&owner, address);
        change.commit(AuditEntry::new(&actor, "device.enrol", device.id).after(&device)).await?;
        let mut db = self.store().consistent_read().await?;
        let profile = profile::of(&mut db, &device).await?;
        Ok(Enrolled { device, profile })
    }
}

fn invalid() -> Error {
    let detail =
        "this enrolment token is unknown, used, or older than a day; ask whoever gave it for a new one";
    Error::forbidden("enrolment_token_invalid", detail)
}
