use nexa_types::UserId;
use sqlx::PgConnection;
use uuid::Uuid;

use super::Result;
use crate::model::{Role, User};

/// A user that is about to be made.
pub(crate) struct NewUser<'a> {
    pub(crate) id: UserId,
    pub(crate) username: &'a str,
    pub(crate) display_name: &'a str,
    pub(crate) role: Role,
    pub(crate) password_hash: &'a str,
    /// Whether nobody knows the password, and the user has yet to set one.
    pub(crate) invited: bool,
}

/// Makes a user.
pub(crate) async fn insert(db: &mut PgConnection, user: NewUser<'_>) -> Result<User> {
    let row = sqlx::query_as!(
        UserRow,
        r#"INSERT INTO users (id, username, display_name, role, password_hash, invited)
           VALUES ($1, $2, $3, $4, $5, $6)
           RETURNING id, username, display_name, role AS "role: Role", disabled, invited, created_at"#,
        user.id.0,
        user.username,
        user.display_name,
        user.role as Role,
        user.password_hash,
        user.invited,
    );
    Ok(row.fetch_one(db).await?.into())
}

/// The user, if there is one.
pub(crate) async fn get(db: &mut PgConnection, id: UserId) -> Result<Option<User>> {
    let row = sqlx::query_as!(
        UserRow,
        r#"SELECT id, username, display_name, role AS "role: Role", disabled, invited, created_at
           FROM users WHERE id = $1"#,
        id.0
    );
    Ok(row.fetch_optional(db).await?.map(User::from))
}

/// As [`get`], with the row locked until the transaction ends.
pub(crate) async fn lock(db: &mut PgConnection, id: UserId) -> Result<Option<User>> {
    let row = sqlx::query_as!(
        UserRow,
        r#"SELECT id, username, display_name, role AS "role: Role", disabled, invited, created_at
           FROM users WHERE id = $1 FOR UPDATE"#,
        id.0
    );
    Ok(row.fetch_optional(db).await?.map(User::from))
}

/// Up to `limit` users after id `after`.
pub(crate) async fn page(db: &mut PgConnection, after: Uuid, limit: i64) -> Result<Vec<User>> {
    let rows = sqlx::query_as!(
        UserRow,
        r#"SELECT id, username, display_name, role AS "role: Role", disabled, invited, created_at
           FROM users WHERE id > $1 ORDER BY id LIMIT $2"#,
        after,
        limit,
    );
    Ok(rows.fetch_all(db).await?.into_iter().map(User::from).collect())
}

/// Id and password hash of whom a name belongs to, disabled or not.
pub(crate) async fn credentials(db: &mut PgConnection, username: &str) -> Result<Option<(UserId, String)>> {
    let row = sqlx::query!("SELECT id, password_hash FROM users WHERE lower(username) = lower($1)", username);
    Ok(row.fetch_optional(db).await?.map(|row| (UserId(row.id), row.password_hash)))
}

/// Writes what can change of a user.
pub(crate) async fn update(db: &mut PgConnection, user: &User) -> Result<()> {
    sqlx::query!(
        "UPDATE users SET display_name = $2, role = $3, disabled = $4 WHERE id = $1",
        user.id.0,
        user.display_name,
        user.role as Role,
        user.disabled,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Writes a user's password hash; an invitation is thereby accepted.
pub(crate) async fn set_password(db: &mut PgConnection, id: UserId, hash: &str) -> Result<()> {
    sqlx::query!("UPDATE users SET password_hash = $2, invited = false WHERE id = $1", id.0, hash)
        .execute(db)
        .await?;
    Ok(())
}

/// Removes a user, with sessions, memberships and devices.
pub(crate) async fn delete(db: &mut PgConnection, id: UserId) -> Result<()> {
    sqlx::query!("DELETE FROM users WHERE id = $1", id.0).execute(db).await?;
    Ok(())
}

/// All owners, oldest first.
pub(crate) async fn owners(db: &mut PgConnection) -> Result<Vec<User>> {
    let rows = sqlx::query_as!(
        UserRow,
        r#"SELECT id, username, display_name, role AS "role: Role", disabled, invited, created_at
           FROM users WHERE role = 'owner' ORDER BY id"#
    );
    Ok(rows.fetch_all(db).await?.into_iter().map(User::from).collect())
}

/// How many owners can sign in.
pub(crate) async fn active_owners(db: &mut PgConnection) -> Result<i64> {
    let count = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM users WHERE role = 'owner' AND NOT disabled AND NOT invited"#
    );
    Ok(count.fetch_one(db).await?)
}

/// Whether an owner was ever made: the last one cannot be removed.
pub(crate) async fn any_owner(db: &mut PgConnection) -> Result<bool> {
    let found = sqlx::query_scalar!(r#"SELECT EXISTS (SELECT FROM users WHERE role = 'owner') AS "found!""#);
    Ok(found.fetch_one(db).await?)
}

/// A user as rows have him.
pub(super) struct UserRow {
    pub(super) id: Uuid,
    pub(super) username: String,
    pub(super) display_name: String,
    pub(super) role: Role,
    pub(super) disabled: bool,
    pub(super) invited: bool,
    pub(super) created_at: chrono::DateTime<chrono::Utc>,
}

impl From<UserRow> for User {
    fn from(row: UserRow) -> Self {
        Self {
            id: UserId(row.id),
            username: row.username,
            display_name: row.display_name,
            role: row.role,
            disabled: row.disabled,
            invited: row.invited,
            created_at: row.created_at,
        }
    }
}
