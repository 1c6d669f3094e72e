use chrono::{DateTime, Utc};
use nexa_types::UserId;
use sqlx::PgConnection;

use super::Result;

/// What a token lets somebody do for its user, once.
#[derive(Clone, Copy, Debug, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub(crate) enum Purpose {
    /// Set a password.
    SetPassword,
    /// Enrol a device.
    EnrolDevice,
}

/// Makes a token.
pub(crate) async fn insert(
    db: &mut PgConnection,
    purpose: Purpose,
    user: UserId,
    token_hash: &[u8; 32],
    expires_at: DateTime<Utc>,
) -> Result<()> {
    sqlx::query!(
        "INSERT INTO one_time_tokens (token_hash, purpose, user_id, expires_at) VALUES ($1, $2, $3, $4)",
        &token_hash[..],
        purpose as Purpose,
        user.0,
        expires_at,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// How many tokens of a user can still be used.
pub(crate) async fn count(db: &mut PgConnection, purpose: Purpose, user: UserId) -> Result<i64> {
    let count = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM one_time_tokens
           WHERE user_id = $1 AND purpose = $2 AND expires_at > now()"#,
        user.0,
        purpose as Purpose,
    );
    Ok(count.fetch_one(db).await?)
}

/// For whom a token is, while it can be used and the user is not disabled.
pub(crate) async fn user(
    db: &mut PgConnection,
    purpose: Purpose,
    token_hash: &[u8; 32],
) -> Result<Option<UserId>> {
    let found = sqlx::query_scalar!(
        "SELECT t.user_id FROM one_time_tokens t JOIN users u ON u.id = t.user_id
         WHERE t.token_hash = $1 AND t.purpose = $2 AND t.expires_at > now() AND NOT u.disabled",
        &token_hash[..],
        purpose as Purpose,
    );
    Ok(found.fetch_optional(db).await?.map(UserId))
}

/// Uses a token up. `false` where it is not there, used, or past its time.
///
/// Of several transactions that do this at once, all but one wait here for the row, and then find it gone.
pub(crate) async fn consume(db: &mut PgConnection, purpose: Purpose, token_hash: &[u8; 32]) -> Result<bool> {
    let done = sqlx::query!(
        "DELETE FROM one_time_tokens WHERE token_hash = $1 AND purpose = $2 AND expires_at > now()",
        &token_hash[..],
        purpose as Purpose,
    );
    Ok(done.execute(db).await?.rows_affected() == 1)
}

/// Takes a user's tokens of one purpose back.
pub(crate) async fn delete_of_user(db: &mut PgConnection, purpose: Purpose, user: UserId) -> Result<()> {
    sqlx::query!(
        "DELETE FROM one_time_tokens WHERE user_id = $1 AND purpose = $2",
        user.0,
        purpose as Purpose
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Clears tokens away that are past their time.
pub(crate) async fn delete_expired(db: &mut PgConnection) -> Result<()> {
    sqlx::query!("DELETE FROM one_time_tokens WHERE expires_at <= now()").execute(db).await?;
    Ok(())
}
