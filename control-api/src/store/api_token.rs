use chrono::{DateTime, Utc};
use nexa_types::UserId;
use sqlx::PgConnection;
use uuid::Uuid;

use super::device::Owned;
use super::{Result, user};
use crate::model::{ApiToken, Role, Scope, User};

/// A token that is about to be made.
pub(crate) struct NewApiToken<'a> {
    pub(crate) id: Uuid,
    pub(crate) token_hash: &'a [u8; 32],
    pub(crate) user: UserId,
    pub(crate) name: &'a str,
    pub(crate) scopes: &'a [Scope],
    pub(crate) expires_at: DateTime<Utc>,
}

/// Makes a token. `false` where the user is gone or disabled.
pub(crate) async fn insert(db: &mut PgConnection, new: NewApiToken<'_>) -> Result<bool> {
    // The user's row is locked, so that disabling and this happen one after the other.
    let done = sqlx::query!(
        "INSERT INTO api_tokens (id, token_hash, user_id, name, scopes, expires_at)
         SELECT $1, $2, id, $4, $5, $6 FROM users WHERE id = $3 AND NOT disabled FOR SHARE",
        new.id,
        &new.token_hash[..],
        new.user.0,
        new.name,
        new.scopes as &[Scope],
        new.expires_at,
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// How many tokens a user has, with those that have ended and were not cleared away yet.
pub(crate) async fn count(db: &mut PgConnection, user: UserId) -> Result<i64> {
    let count =
        sqlx::query_scalar!(r#"SELECT count(*) AS "count!" FROM api_tokens WHERE user_id = $1"#, user.0);
    Ok(count.fetch_one(db).await?)
}

/// For whom a token acts and what it may do, while it lasts and the user is not disabled. Notes that it was used,
/// every five minutes at most.
pub(crate) async fn authenticate(
    db: &mut PgConnection,
    token_hash: &[u8; 32],
) -> Result<Option<(Uuid, Vec<Scope>, User)>> {
    let row = sqlx::query!(
        r#"SELECT t.id AS token, t.scopes AS "scopes: Vec<Scope>",
                  t.last_used_at IS NULL OR t.last_used_at < now() - interval '5 minutes' AS "stale!",
                  u.id, u.username, u.display_name, u.role AS "role: Role", u.disabled, u.invited, u.created_at
           FROM api_tokens t JOIN users u ON u.id = t.user_id
           WHERE t.token_hash = $1 AND t.expires_at > now() AND NOT u.disabled"#,
        &token_hash[..]
    );
    let Some(row) = row.fetch_optional(&mut *db).await? else { return Ok(None) };
    if row.stale {
        sqlx::query!("UPDATE api_tokens SET last_used_at = now() WHERE id = $1", row.token)
            .execute(db)
            .await?;
    }
    let user = user::UserRow {
        id: row.id,
        username: row.username,
        display_name: row.display_name,
        role: row.role,
        disabled: row.disabled,
        invited: row.invited,
        created_at: row.created_at,
    };
    Ok(Some((row.token, row.scopes, user.into())))
}

/// The token, if there is one and it is among those meant.
pub(crate) async fn get(db: &mut PgConnection, id: Uuid, owned: Owned) -> Result<Option<ApiToken>> {
    let row = sqlx::query_as!(
        ApiTokenRow,
        r#"SELECT t.id, t.user_id, u.username, t.name, t.scopes AS "scopes: Vec<Scope>", t.created_at, t.expires_at,
                  t.last_used_at
           FROM api_tokens t JOIN users u ON u.id = t.user_id
           WHERE t.id = $1 AND ($2::uuid IS NULL OR t.user_id = $2)"#,
        id,
        owned.user(),
    );
    Ok(row.fetch_optional(db).await?.map(ApiToken::from))
}

/// Up to `limit` tokens after id `after`.
pub(crate) async fn page(
    db: &mut PgConnection,
    owned: Owned,
    after: Uuid,
    limit: i64,
) -> Result<Vec<ApiToken>> {
    let rows = sqlx::query_as!(
        ApiTokenRow,
        r#"SELECT t.id, t.user_id, u.username, t.name, t.scopes AS "scopes: Vec<Scope>", t.created_at, t.expires_at,
                  t.last_used_at
           FROM api_tokens t JOIN users u ON u.id = t.user_id
           WHERE t.id > $1 AND ($2::uuid IS NULL OR t.user_id = $2) ORDER BY t.id LIMIT $3"#,
        after,
        owned.user(),
        limit,
    );
    Ok(rows.fetch_all(db).await?.into_iter().map(ApiToken::from).collect())
}

/// Ends a token. `false` where it had ended.
pub(crate) async fn delete(db: &mut PgConnection, id: Uuid) -> Result<bool> {
    Ok(sqlx::query!("DELETE FROM api_tokens WHERE id = $1", id).execute(db).await?.rows_affected() == 1)
}

/// Clears ended tokens away, a month later: until then their user can see what ended.
pub(crate) async fn delete_expired(db: &mut PgConnection) -> Result<()> {
    sqlx::query!("DELETE FROM api_tokens WHERE expires_at <= now() - interval '30 days'").execute(db).await?;
    Ok(())
}

struct ApiTokenRow {
    id: Uuid,
    user_id: Uuid,
    username: String,
    name: String,
    scopes: Vec<Scope>,
    created_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
    last_used_at: Option<DateTime<Utc>>,
}

impl From<ApiTokenRow> for ApiToken {
    fn from(row: ApiTokenRow) -> Self {
        Self {
            id: row.id,
            user_id: UserId(row.user_id),
            username: row.username,
            name: row.name,
            scopes: row.scopes,
            created_at: row.created_at,
            expires_at: row.expires_at,
            last_used_at: row.last_used_at,
        }
    }
}
