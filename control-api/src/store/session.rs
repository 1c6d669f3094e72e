use std::net::IpAddr;

use chrono::{DateTime, Utc};
use ipnet::IpNet;
use nexa_types::UserId;
use sqlx::PgConnection;
use uuid::Uuid;

use super::Result;
use super::device::Owned;
use crate::model::{ActiveSession, Role, User};

/// A session that is about to begin.
pub(crate) struct NewSession<'a> {
    pub(crate) id: Uuid,
    pub(crate) token_hash: &'a [u8; 32],
    pub(crate) user: UserId,
    /// The hash that the password was checked against: a password changed meanwhile begins no session.
    pub(crate) password_hash: &'a str,
    pub(crate) expires_at: DateTime<Utc>,
    pub(crate) address: Option<IpAddr>,
}

/// Begins a session. `false` where the user is gone, disabled, or has another password now.
pub(crate) async fn insert(db: &mut PgConnection, session: NewSession<'_>) -> Result<bool> {
    // The user's row is locked, so that disabling and this happen one after the other.
    let done = sqlx::query!(
        "INSERT INTO sessions (id, token_hash, user_id, expires_at, address)
         SELECT $1, $2, id, $5, $6 FROM users WHERE id = $3 AND NOT disabled AND password_hash = $4 FOR SHARE",
        session.id,
        &session.token_hash[..],
        session.user.0,
        session.password_hash,
        session.expires_at,
        session.address.map(IpNet::from),
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Whose session a token is of, while it lasts and the user is not disabled.
pub(crate) async fn find(db: &mut PgConnection, token_hash: &[u8; 32]) -> Result<Option<(Uuid, User)>> {
    let row = sqlx::query!(
        r#"SELECT s.id AS session, u.id, u.username, u.display_name, u.role AS "role: Role", u.disabled, u.invited, u.created_at
           FROM sessions s JOIN users u ON u.id = s.user_id
           WHERE s.token_hash = $1 AND s.expires_at > now() AND NOT u.disabled"#,
        &token_hash[..]
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| {
        let user = User {
            id: UserId(row.id),
            username: row.username,
            display_name: row.display_name,
            role: row.role,
            disabled: row.disabled,
            invited: row.invited,
            created_at: row.created_at,
        };
        (row.session, user)
    }))
}

/// The session, if it lasts and is among those meant. `current` is never set.
pub(crate) async fn get(db: &mut PgConnection, id: Uuid, owned: Owned) -> Result<Option<ActiveSession>> {
    let row = sqlx::query_as!(
        SessionRow,
        r#"SELECT s.id, s.user_id, u.username, s.address, s.created_at, s.expires_at
           FROM sessions s JOIN users u ON u.id = s.user_id
           WHERE s.id = $1 AND s.expires_at > now() AND ($2::uuid IS NULL OR s.user_id = $2)"#,
        id,
        owned.user(),
    );
    Ok(row.fetch_optional(db).await?.map(ActiveSession::from))
}

/// Up to `limit` sessions after id `after`. `current` is never set.
pub(crate) async fn page(
    db: &mut PgConnection,
    owned: Owned,
    after: Uuid,
    limit: i64,
) -> Result<Vec<ActiveSession>> {
    let rows = sqlx::query_as!(
        SessionRow,
        r#"SELECT s.id, s.user_id, u.username, s.address, s.created_at, s.expires_at
           FROM sessions s JOIN users u ON u.id = s.user_id
           WHERE s.id > $1 AND s.expires_at > now() AND ($2::uuid IS NULL OR s.user_id = $2)
           ORDER BY s.id LIMIT $3"#,
        after,
        owned.user(),
        limit,
    );
    Ok(rows.fetch_all(db).await?.into_iter().map(ActiveSession::from).collect())
}

/// Ends a session. `false` where it had ended.
pub(crate) async fn delete(db: &mut PgConnection, id: Uuid) -> Result<bool> {
    Ok(sqlx::query!("DELETE FROM sessions WHERE id = $1", id).execute(db).await?.rows_affected() == 1)
}

/// Ends all sessions of a user.
pub(crate) async fn delete_of_user(db: &mut PgConnection, user: UserId) -> Result<()> {
    sqlx::query!("DELETE FROM sessions WHERE user_id = $1", user.0).execute(db).await?;
    Ok(())
}

/// Clears ended sessions away.
pub(crate) async fn delete_expired(db: &mut PgConnection) -> Result<()> {
    sqlx::query!("DELETE FROM sessions WHERE expires_at <= now()").execute(db).await?;
    Ok(())
}

struct SessionRow {
    id: Uuid,
    user_id: Uuid,
    username: String,
    address: Option<IpNet>,
    created_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
}

impl From<SessionRow> for ActiveSession {
    fn from(row: SessionRow) -> Self {
        Self {
            id: row.id,
            user_id: UserId(row.user_id),
            username: row.username,
            address: row.address.map(|net| net.addr()),
            created_at: row.created_at,
            expires_at: row.expires_at,
            current: false,
        }
    }
}
