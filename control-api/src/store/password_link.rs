use chrono::{DateTime, Utc};
use nexa_types::UserId;
use sqlx::PgConnection;

use super::Result;

/// Makes a link, in the place of the user's earlier one.
pub(crate) async fn replace(
    db: &mut PgConnection,
    user: UserId,
    token_hash: &[u8; 32],
    expires_at: DateTime<Utc>,
) -> Result<()> {
    sqlx::query!(
        "INSERT INTO password_links (user_id, token_hash, expires_at) VALUES ($1, $2, $3)
         ON CONFLICT (user_id) DO UPDATE SET token_hash = $2, expires_at = $3",
        user.0,
        &token_hash[..],
        expires_at,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Whose link this is, while it can be used.
pub(crate) async fn user(db: &mut PgConnection, token_hash: &[u8; 32]) -> Result<Option<UserId>> {
    let found = sqlx::query_scalar!(
        "SELECT l.user_id FROM password_links l JOIN users u ON u.id = l.user_id
         WHERE l.token_hash = $1 AND l.expires_at > now() AND NOT u.disabled",
        &token_hash[..]
    );
    Ok(found.fetch_optional(db).await?.map(UserId))
}

/// Uses a link up. `false` where it is not there, used, or past its time.
///
/// Of several transactions that do this at once, all but one wait here for the row, and then find it gone.
pub(crate) async fn consume(db: &mut PgConnection, token_hash: &[u8; 32]) -> Result<bool> {
    let done = sqlx::query!(
        "DELETE FROM password_links WHERE token_hash = $1 AND expires_at > now()",
        &token_hash[..]
    );
    Ok(done.execute(db).await?.rows_affected() == 1)
}

/// Takes a user's link back, if there is one: a password that was set otherwise must not be replaced by it.
pub(crate) async fn delete_of_user(db: &mut PgConnection, user: UserId) -> Result<()> {
    sqlx::query!("DELETE FROM password_links WHERE user_id = $1", user.0).execute(db).await?;
    Ok(())
}

/// Clears links away that are past their time.
pub(crate) async fn delete_expired(db: &mut PgConnection) -> Result<()> {
    sqlx::query!("DELETE FROM password_links WHERE expires_at <= now()").execute(db).await?;
    Ok(())
}
