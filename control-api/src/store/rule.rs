use chrono::{DateTime, Utc};
use nexa_types::{ResourceId, RuleId, When};
use nexa_wire::snapshot::{Effect, Subject, Target};
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::{Result, StoreError};
use crate::model::Rule;

/// Makes an enabled rule that names nobody and nothing yet.
pub(crate) async fn insert(db: &mut PgConnection, effect: Effect, note: &str, when: &When) -> Result<RuleId> {
    let id = sqlx::query_scalar!(
        "INSERT INTO rules (effect, note, times) VALUES ($1, $2, $3) RETURNING id",
        text(effect),
        note,
        Json(when) as _,
    );
    rule_id(id.fetch_one(db).await?)
}

/// Adds whom the rule speaks of. Refused by a foreign key where that is unknown.
pub(crate) async fn insert_subject(
    db: &mut PgConnection,
    rule: RuleId,
    position: i32,
    subject: Subject,
) -> Result<()> {
    let (kind, [group, user, device]) = subject_columns(subject);
    sqlx::query!(
        "INSERT INTO rule_subjects (rule_id, position, kind, group_id, user_id, device_id)
         VALUES ($1, $2, $3, $4, $5, $6)",
        number(rule),
        position,
        kind,
        group,
        user,
        device,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// The kind of a subject, and the ids of group, user and device, of which at most one is there.
pub(super) const fn subject_columns(subject: Subject) -> (&'static str, [Option<Uuid>; 3]) {
    match subject {
        Subject::Everyone => ("everyone", [None; 3]),
        Subject::Group(id) => ("group", [Some(id.0), None, None]),
        Subject::User(id) => ("user", [None, Some(id.0), None]),
        Subject::Device(id) => ("device", [None, None, Some(id.0)]),
    }
}

/// Adds what the rule speaks of. Refused by a foreign key where that is unknown.
pub(crate) async fn insert_target(
    db: &mut PgConnection,
    rule: RuleId,
    position: i32,
    target: Target,
) -> Result<()> {
    let Target::Resource(resource) = target;
    sqlx::query!(
        "INSERT INTO rule_targets (rule_id, position, resource_id) VALUES ($1, $2, $3)",
        number(rule),
        position,
        resource.0,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// The rule, if there is one.
pub(crate) async fn get(db: &mut PgConnection, id: RuleId) -> Result<Option<Rule>> {
    let row = sqlx::query_as!(
        RuleRow,
        r#"SELECT id AS "id!", effect AS "effect!", enabled AS "enabled!", note AS "note!",
                  created_at AS "created_at!", who AS "who!: Json<Vec<Subject>>", what AS "what!: Json<Vec<Target>>",
                  times AS "times!: Json<When>"
           FROM rule_details WHERE id = $1"#,
        number(id)
    );
    row.fetch_optional(db).await?.map(Rule::try_from).transpose()
}

/// Up to `limit` rules after number `after`.
pub(crate) async fn page(db: &mut PgConnection, after: i32, limit: i64) -> Result<Vec<Rule>> {
    let rows = sqlx::query_as!(
        RuleRow,
        r#"SELECT id AS "id!", effect AS "effect!", enabled AS "enabled!", note AS "note!",
                  created_at AS "created_at!", who AS "who!: Json<Vec<Subject>>", what AS "what!: Json<Vec<Target>>",
                  times AS "times!: Json<When>"
           FROM rule_details WHERE id > $1 ORDER BY id LIMIT $2"#,
        after,
        limit,
    );
    rows.fetch_all(db).await?.into_iter().map(Rule::try_from).collect()
}

/// Writes what can change of a rule.
pub(crate) async fn update(db: &mut PgConnection, rule: &Rule) -> Result<()> {
    sqlx::query!(
        "UPDATE rules SET enabled = $2, note = $3, times = $4 WHERE id = $1",
        number(rule.id),
        rule.enabled,
        rule.note,
        Json(&rule.when) as _,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Removes a rule.
pub(crate) async fn delete(db: &mut PgConnection, id: RuleId) -> Result<()> {
    sqlx::query!("DELETE FROM rules WHERE id = $1", number(id)).execute(db).await?;
    Ok(())
}

/// Numbers of the rules that name a resource, lowest first.
pub(crate) async fn naming_resource(db: &mut PgConnection, id: ResourceId) -> Result<Vec<RuleId>> {
    let rows = sqlx::query_scalar!(
        "SELECT DISTINCT rule_id FROM rule_targets WHERE resource_id = $1 ORDER BY rule_id",
        id.0
    );
    rows.fetch_all(db).await?.into_iter().map(rule_id).collect()
}

/// Numbers of the rules that name a group, a user, a device, or any device of that user, lowest first.
pub(crate) async fn naming_subject(db: &mut PgConnection, id: Uuid) -> Result<Vec<RuleId>> {
    let rows = sqlx::query_scalar!(
        "SELECT DISTINCT rule_id FROM rule_subjects
         WHERE group_id = $1 OR user_id = $1 OR device_id = $1
            OR device_id IN (SELECT id FROM devices WHERE user_id = $1)
         ORDER BY rule_id",
        id
    );
    rows.fetch_all(db).await?.into_iter().map(rule_id).collect()
}

struct RuleRow {
    id: i32,
    effect: String,
    enabled: bool,
    note: String,
    created_at: DateTime<Utc>,
    who: Json<Vec<Subject>>,
    what: Json<Vec<Target>>,
    times: Json<When>,
}

impl TryFrom<RuleRow> for Rule {
    type Error = StoreError;

    fn try_from(row: RuleRow) -> Result<Self> {
        Ok(Self {
            id: rule_id(row.id)?,
            effect: effect(&row.effect)?,
            who: row.who.0,
            what: row.what.0,
            when: row.times.0,
            note: row.note,
            enabled: row.enabled,
            created_at: row.created_at,
        })
    }
}

pub(super) fn number(id: RuleId) -> i32 {
    // Beyond the counter's range there is no rule, and none has a number below 1.
    i32::try_from(id.0).unwrap_or(0)
}

pub(super) fn rule_id(number: i32) -> Result<RuleId> {
    Ok(RuleId(u32::try_from(number).map_err(|_| StoreError::corrupt("rules", number))?))
}

const fn text(effect: Effect) -> &'static str {
    match effect {
        Effect::Allow => "allow",
        Effect::Deny => "deny",
    }
}

fn effect(text: &str) -> Result<Effect> {
    match text {
        "allow" => Ok(Effect::Allow),
        "deny" => Ok(Effect::Deny),
        other => Err(StoreError::corrupt("rules", other)),
    }
}
