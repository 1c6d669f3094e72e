use chrono::{DateTime, Utc};
use nexa_types::UserId;
use sqlx::PgConnection;

use super::Result;

/// Makes a token.
pub(crate) async fn insert(
    db: &mut PgConnection,
    user: UserId,
    token_hash: &[u8; 32],
    expires_at: DateTime<Utc>,
) -> Result<()> {
    sqlx::query!(
        "INSERT INTO enrolment_tokens (token_hash, user_id, expires_at) VALUES ($1, $2, $3)",
        &token_hash[..],
        user.0,
        expires_at,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// How many tokens of a user can still be used.
pub(crate) async fn count(db: &mut PgConnection, user: UserId) -> Result<i64> {
    let count = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM enrolment_tokens WHERE user_id = $1 AND expires_at > now()"#,
        user.0
    );
    Ok(count.fetch_one(db).await?)
}

/// For whom this token enrols, while it can be used.
pub(crate) async fn user(db: &mut PgConnection, token_hash: &[u8; 32]) -> Result<Option<UserId>> {
    let found = sqlx::query_scalar!(
        "SELECT t.user_id FROM enrolment_tokens t JOIN users u ON u.id = t.user_id
         WHERE t.token_hash = $1 AND t.expires_at > now() AND NOT u.disabled",
        &token_hash[..]
    );
    Ok(found.fetch_optional(db).await?.map(UserId))
}

/// Uses a token up. `false` where it is not there, used, or past its time.
///
/// Of several transactions that do this at once, all but one wait here for the row, and then find it gone.
pub(crate) async fn consume(db: &mut PgConnection, token_hash: &[u8; 32]) -> Result<bool> {
    let done = sqlx::query!(
        "DELETE FROM enrolment_tokens WHERE token_hash = $1 AND expires_at > now()",
        &token_hash[..]
    );
    Ok(done.execute(db).await?.rows_affected() == 1)
}

/// Clears tokens away that are past their time.
pub(crate) async fn delete_expired(db: &mut PgConnection) -> Result<()> {
    sqlx::query!("DELETE FROM enrolment_tokens WHERE expires_at <= now()").execute(db).await?;
    Ok(())
}
