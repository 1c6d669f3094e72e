use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::Result;

/// Puts a token in the place of all earlier ones.
pub(crate) async fn replace(db: &mut PgConnection, hash: &[u8; 32], expires_at: DateTime<Utc>) -> Result<()> {
    sqlx::query!("DELETE FROM bootstrap_tokens").execute(&mut *db).await?;
    sqlx::query!(
        "INSERT INTO bootstrap_tokens (token_hash, expires_at) VALUES ($1, $2)",
        &hash[..],
        expires_at
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Whether this token is there and in time.
pub(crate) async fn is_valid(db: &mut PgConnection, hash: &[u8; 32]) -> Result<bool> {
    let found = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM bootstrap_tokens WHERE token_hash = $1 AND expires_at > now()) AS "found!""#,
        &hash[..]
    );
    Ok(found.fetch_one(db).await?)
}

/// Uses the token up. `false` where it is not there, used, or past its time.
///
/// Of several transactions that do this at once, all but one wait here for the row, and then find it gone.
pub(crate) async fn consume(db: &mut PgConnection, hash: &[u8; 32]) -> Result<bool> {
    let done =
        sqlx::query!("DELETE FROM bootstrap_tokens WHERE token_hash = $1 AND expires_at > now()", &hash[..])
            .execute(db)
            .await?;
    Ok(done.rows_affected() == 1)
}
