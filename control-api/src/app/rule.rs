use std::collections::HashMap;

use nexa_types::{DeviceId, GroupId, RuleId, UserId};
use nexa_wire::snapshot::{Subject, Target};
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::error::Meaning as _;
use super::page::Window;
use super::{Admin, Error, Reader, Result, input};
use crate::model::{
    EffectBody, Hits, Page, PageQuery, Rule, RuleWithHits, SubjectBody, SubjectKind, TargetBody, WhenBody,
};
use crate::store::{AuditEntry, Db, StoreError, report, resource, rule};

const NOTE_MAX: usize = 500;
const LIST_MAX: usize = 500;

/// A rule to make. It is in force at once.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateRule {
    /// Whether it admits or refuses. Deny beats allow.
    pub effect: EffectBody,
    /// At least one, none twice.
    #[schema(min_items = 1, max_items = 500)]
    pub who: Vec<SubjectBody>,
    /// At least one, none twice.
    #[schema(min_items = 1, max_items = 500)]
    pub what: Vec<TargetBody>,
    /// Why it is there, for people. Up to 500 characters.
    #[schema(nullable = false)]
    pub note: Option<String>,
    /// When it speaks; left out, always.
    #[serde(default)]
    pub when: WhenBody,
}

/// What to change of a rule; what is left out stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateRule {
    /// Why it is there, for people. Up to 500 characters.
    #[schema(nullable = false)]
    pub note: Option<String>,
    /// Whether it is in force.
    #[schema(nullable = false)]
    pub enabled: Option<bool>,
    /// When it speaks, as a whole; an empty object is always.
    #[schema(nullable = false)]
    pub when: Option<WhenBody>,
}

impl Reader {
    /// Rules, lowest number first, each with what it decided.
    ///
    /// # Errors
    /// What is wrong with the query.
    pub async fn rules(&self, query: &PageQuery) -> Result<Page<RuleWithHits>> {
        let window = Window::<i32>::of(query)?;
        let mut db = self.store().connection().await?;
        let rules = rule::page(&mut db, window.cursor.unwrap_or(0), window.rows()).await?;
        let rules = with_hits(&mut db, rules).await?;
        Ok(window.page(rules, |with_hits| with_hits.rule.id.to_string()))
    }

    /// A rule, with what it decided.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn rule(&self, id: RuleId) -> Result<RuleWithHits> {
        let mut db = self.store().connection().await?;
        let rule = rule::get(&mut db, id).await?.ok_or(Error::NotFound("rule"))?;
        with_hits(&mut db, vec![rule]).await?.pop().ok_or(Error::NotFound("rule"))
    }
}

impl Admin {
    /// Makes a rule, and puts it in force.
    ///
    /// # Errors
    /// What is wrong with the request; `unknown_id` where it names what there is not.
    pub async fn create_rule(&self, request: &CreateRule) -> Result<Rule> {
        let note = input::note("note", request.note.as_deref().unwrap_or_default(), NOTE_MAX)?;
        let who = parse_list("who", &request.who, subject)?;
        let what = parse_list("what", &request.what, |_, body| Ok(Target::from(*body)))?;
        let when = input::when(&request.when)?;

        let mut change = self.store().visible_change().await?;
        let db = change.connection();
        let id = rule::insert(db, request.effect.into(), &note, &when).await?;
        for ((index, subject), position) in who.into_iter().enumerate().zip(0..) {
            let inserted = rule::insert_subject(db, id, position, subject).await;
            unknown_subject(inserted, "rule_subjects", &format!("who[{index}].id"), subject)?;
        }
        for ((index, target), position) in what.into_iter().enumerate().zip(0..) {
            let inserted = rule::insert_target(db, id, position, target).await;
            inserted.when_violates("rule_targets_resource", || {
                unknown(format!("what[{index}].id"), "resource")
            })?;
        }
        let rule = rule::get(db, id).await?.ok_or(Error::NotFound("rule"))?;
        change.commit(AuditEntry::new(&self.actor(), "rule.create", id).after(&rule)).await?;
        Ok(rule)
    }

    /// Changes a rule's note, when it speaks, or whether it is in force.
    ///
    /// # Errors
    /// What is wrong with the request; [`Error::NotFound`].
    pub async fn update_rule(&self, id: RuleId, request: &UpdateRule) -> Result<Rule> {
        let note = request.note.as_deref().map(|text| input::note("note", text, NOTE_MAX)).transpose()?;
        let when = request.when.as_ref().map(input::when).transpose()?;
        let mut change = match (request.enabled, &when) {
            (None, None) => self.store().ordered_change().await?,
            _ => self.store().visible_change().await?,
        };
        let db = change.connection();
        let before = rule::get(db, id).await?.ok_or(Error::NotFound("rule"))?;
        let mut after = before.clone();
        after.note = note.unwrap_or(after.note);
        after.enabled = request.enabled.unwrap_or(after.enabled);
        after.when = when.unwrap_or(after.when);
        if after == before {
            return Ok(after);
        }
        rule::update(db, &after).await?;
        change
            .commit(AuditEntry::new(&self.actor(), "rule.update", id).before(&before).after(&after))
            .await?;
        Ok(after)
    }

    /// Removes a rule.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn delete_rule(&self, id: RuleId) -> Result<()> {
        let mut change = self.store().visible_change().await?;
        let db = change.connection();
        let before = rule::get(db, id).await?.ok_or(Error::NotFound("rule"))?;
        rule::delete(db, id).await?;
        Ok(change.commit(AuditEntry::new(&self.actor(), "rule.delete", id).before(&before)).await?)
    }
}

async fn with_hits(db: &mut Db, rules: Vec<Rule>) -> Result<Vec<RuleWithHits>> {
    let ids: Vec<RuleId> = rules.iter().map(|rule| rule.id).collect();
    let mut hits: HashMap<RuleId, Hits> = report::rule_hits(db, &ids).await?.into_iter().collect();
    let with_hits = |rule: Rule| RuleWithHits { hits: hits.remove(&rule.id).unwrap_or_default(), rule };
    Ok(rules.into_iter().map(with_hits).collect())
}

/// Gives a violated foreign key of `table` its meaning: whom `field` names is not there.
pub(super) fn unknown_subject(
    inserted: std::result::Result<(), StoreError>,
    table: &str,
    field: &str,
    subject: Subject,
) -> Result<()> {
    let kind = match subject {
        Subject::Everyone => "everyone",
        Subject::Group(_) => "group",
        Subject::User(_) => "user",
        Subject::Device(_) => "device",
    };
    inserted.when_violates(&format!("{table}_{kind}"), || unknown(field.to_owned(), kind))
}

/// Refuses to remove a group, a user or a device while a rule or a resource names it: what lost whom it speaks of would
/// mean something else.
pub(super) async fn is_named(db: &mut Db, id: Uuid) -> Result<()> {
    in_use(&rule::naming_subject(db, id).await?)?;
    let resources = resource::naming(db, id).await?;
    if resources.is_empty() {
        return Ok(());
    }
    let detail = format!("named by resource {}; remove it there first", resources.join(", "));
    Err(Error::conflict("in_use", detail))
}

/// As [`is_named`], by rules alone.
pub(super) fn in_use(rules: &[RuleId]) -> Result<()> {
    if rules.is_empty() {
        return Ok(());
    }
    let numbers: Vec<String> = rules.iter().map(ToString::to_string).collect();
    let detail = format!("named by rule {}; remove what names it first", numbers.join(", "));
    Err(Error::conflict("in_use", detail))
}

pub(super) fn parse_list<B, T: PartialEq>(
    field: &'static str,
    bodies: &[B],
    parse: impl Fn(String, &B) -> Result<T>,
) -> Result<Vec<T>> {
    if bodies.is_empty() {
        return Err(Error::invalid(
            "empty_list",
            field,
            "name at least one; an empty list means nobody and nothing",
        ));
    }
    if bodies.len() > LIST_MAX {
        let detail = format!("name at most {LIST_MAX}; use a group, or several rules");
        return Err(Error::invalid("too_many", field, detail));
    }
    let mut list: Vec<T> = Vec::with_capacity(bodies.len());
    for (index, body) in bodies.iter().enumerate() {
        let item = parse(format!("{field}[{index}]"), body)?;
        if list.contains(&item) {
            let detail = "this is in the list already; leave it out here";
            return Err(Error::invalid("duplicate", format!("{field}[{index}]"), detail));
        }
        list.push(item);
    }
    Ok(list)
}

pub(super) fn subject(field: String, body: &SubjectBody) -> Result<Subject> {
    match (body.kind, body.id) {
        (SubjectKind::Everyone, None) => Ok(Subject::Everyone),
        (SubjectKind::Everyone, Some(_)) => {
            Err(Error::invalid("id_not_allowed", format!("{field}.id"), "`everyone` has no id; leave it out"))
        }
        (SubjectKind::Group, Some(id)) => Ok(Subject::Group(GroupId(id))),
        (SubjectKind::User, Some(id)) => Ok(Subject::User(UserId(id))),
        (SubjectKind::Device, Some(id)) => Ok(Subject::Device(DeviceId(id))),
        (_, None) => Err(Error::invalid("id_missing", format!("{field}.id"), "say which one by its id")),
    }
}

fn unknown(field: String, kind: &str) -> Error {
    Error::invalid("unknown_id", field, format!("there is no {kind} with this id; create it first"))
}
