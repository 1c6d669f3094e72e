use chrono::{DateTime, Utc};
use nexa_types::{GroupId, UserId};
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::Result;
use crate::model::{Group, Member};

/// Makes an empty group.
pub(crate) async fn insert(db: &mut PgConnection, id: GroupId, name: &str) -> Result<Group> {
    let created_at =
        sqlx::query_scalar!("INSERT INTO groups (id, name) VALUES ($1, $2) RETURNING created_at", id.0, name)
            .fetch_one(db)
            .await?;
    Ok(Group { id, name: name.to_owned(), members: Vec::new(), created_at })
}

/// The group, if there is one.
pub(crate) async fn get(db: &mut PgConnection, id: GroupId) -> Result<Option<Group>> {
    let row = sqlx::query_as!(
        GroupRow,
        r#"SELECT g.id, g.name, g.created_at,
                  COALESCE(jsonb_agg(jsonb_build_object('id', u.id, 'username', u.username, 'display_name',
                    u.display_name) ORDER BY lower(u.username)) FILTER (WHERE u.id IS NOT NULL), '[]')
                    AS "members!: Json<Vec<Member>>"
           FROM groups g LEFT JOIN group_members m ON m.group_id = g.id LEFT JOIN users u ON u.id = m.user_id
           WHERE g.id = $1 GROUP BY g.id"#,
        id.0
    );
    Ok(row.fetch_optional(db).await?.map(Group::from))
}

/// Up to `limit` groups after id `after`.
pub(crate) async fn page(db: &mut PgConnection, after: Uuid, limit: i64) -> Result<Vec<Group>> {
    let rows = sqlx::query_as!(
        GroupRow,
        r#"SELECT g.id, g.name, g.created_at,
                  COALESCE(jsonb_agg(jsonb_build_object('id', u.id, 'username', u.username, 'display_name',
                    u.display_name) ORDER BY lower(u.username)) FILTER (WHERE u.id IS NOT NULL), '[]')
                    AS "members!: Json<Vec<Member>>"
           FROM groups g LEFT JOIN group_members m ON m.group_id = g.id LEFT JOIN users u ON u.id = m.user_id
           WHERE g.id > $1 GROUP BY g.id ORDER BY g.id LIMIT $2"#,
        after,
        limit,
    );
    Ok(rows.fetch_all(db).await?.into_iter().map(Group::from).collect())
}

/// Removes a group. Refused by a foreign key while a rule names it.
pub(crate) async fn delete(db: &mut PgConnection, id: GroupId) -> Result<()> {
    sqlx::query!("DELETE FROM groups WHERE id = $1", id.0).execute(db).await?;
    Ok(())
}

/// Puts a user in a group. `false` where he was in it.
pub(crate) async fn add_member(db: &mut PgConnection, group: GroupId, user: UserId) -> Result<bool> {
    let done = sqlx::query!(
        "INSERT INTO group_members (group_id, user_id) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        group.0,
        user.0
    );
    Ok(done.execute(db).await?.rows_affected() == 1)
}

/// Takes a user out of a group. `false` where he was not in it.
pub(crate) async fn remove_member(db: &mut PgConnection, group: GroupId, user: UserId) -> Result<bool> {
    let done =
        sqlx::query!("DELETE FROM group_members WHERE group_id = $1 AND user_id = $2", group.0, user.0);
    Ok(done.execute(db).await?.rows_affected() == 1)
}

struct GroupRow {
    id: Uuid,
    name: String,
    created_at: DateTime<Utc>,
    members: Json<Vec<Member>>,
}

impl From<GroupRow> for Group {
    fn from(row: GroupRow) -> Self {
        Self { id: GroupId(row.id), name: row.name, members: row.members.0, created_at: row.created_at }
    }
}
