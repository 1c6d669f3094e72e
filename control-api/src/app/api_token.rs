use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::error::Meaning as _;
use super::page::Window;
use super::{Caller, Error, Result, input, token};
use crate::model::{ApiToken, ApiTokenWithSecret, Page, PageQuery, Scope};
use crate::store::{AuditEntry, api_token};

/// What tokens begin with, so that one that strays into a repository is found there.
pub(super) const PREFIX: &str = "nxa_";
/// The longest that a token may last.
const MAX_LIFETIME: TimeDelta = TimeDelta::days(366);
/// How many a user may have.
const MAX_PER_USER: i64 = 100;

/// A token to make.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateApiToken {
    /// What it is for.
    pub name: String,
    /// What it may do of what the caller may; at least one.
    pub scopes: Vec<Scope>,
    /// When it ends: within 366 days.
    pub expires_at: DateTime<Utc>,
}

impl Caller {
    /// Makes a token that acts for the caller.
    ///
    /// # Errors
    /// What is wrong with the request; `name_taken`; `too_many_tokens`.
    pub async fn create_api_token(&self, request: CreateApiToken) -> Result<ApiTokenWithSecret> {
        let name = input::name("name", &request.name)?;
        let mut scopes = request.scopes;
        if scopes.is_empty() {
            let detail = "name at least one scope, like [\"read\"]; a token without any could do nothing";
            return Err(Error::invalid("empty_list", "scopes", detail));
        }
        scopes.sort_unstable();
        scopes.dedup();
        let lifetime = request.expires_at - Utc::now();
        if lifetime <= TimeDelta::zero() || lifetime > MAX_LIFETIME {
            let detail = "use a time to come, within 366 days; make a new token before this one ends";
            return Err(Error::invalid("invalid_time", "expires_at", detail));
        }
        let (secret, _) = token::new()?;
        let secret = format!("{PREFIX}{secret}");
        let id = Uuid::now_v7();
        let mut change = self.store().change().await?;
        let db = change.connection();
        if api_token::count(db, self.user.id).await? >= MAX_PER_USER {
            let detail = format!("{MAX_PER_USER} tokens are all that one user may have; remove some first");
            return Err(Error::conflict("too_many_tokens", detail));
        }
        let new = api_token::NewApiToken {
            id,
            token_hash: &token::hash(&secret),
            user: self.user.id,
            name: &name,
            scopes: &scopes,
            expires_at: request.expires_at.trunc_subsecs(6),
        };
        let made = api_token::insert(db, new).await;
        if !made.when_violates("api_tokens_name", || Error::name_taken("name"))? {
            return Err(Error::NotFound("user"));
        }
        let made = api_token::get(db, id, self.seen()).await?.ok_or(Error::NotFound("token"))?;
        change.commit(AuditEntry::new(&self.actor(), "api_token.create", id).after(&made)).await?;
        Ok(ApiTokenWithSecret { api_token: made, token: secret })
    }

    /// Tokens, oldest first: all for an auditor, one's own for a user.
    ///
    /// # Errors
    /// What is wrong with the query.
    pub async fn api_tokens(&self, query: &PageQuery) -> Result<Page<ApiToken>> {
        let window = Window::<Uuid>::of(query)?;
        let mut db = self.store().connection().await?;
        let tokens =
            api_token::page(&mut db, self.seen(), window.cursor.unwrap_or_default(), window.rows()).await?;
        Ok(window.page(tokens, |token| token.id.to_string()))
    }

    /// Ends a token at once.
    ///
    /// # Errors
    /// [`Error::NotFound`], also for another user's where the caller may not know of it; `admin_required` where he may.
    pub async fn delete_api_token(&self, id: Uuid) -> Result<()> {
        let mut change = self.store().change().await?;
        let db = change.connection();
        let before = api_token::get(db, id, self.seen()).await?.ok_or(Error::NotFound("token"))?;
        if before.user_id != self.user.id && !self.is_admin() {
            return Err(Error::forbidden(
                "admin_required",
                "only an administrator ends others' tokens; ask one",
            ));
        }
        if !api_token::delete(db, id).await? {
            return Err(Error::NotFound("token"));
        }
        Ok(change.commit(AuditEntry::new(&self.actor(), "api_token.delete", id).before(&before)).await?)
    }
}
