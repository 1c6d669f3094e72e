use chrono::{DateTime, Utc, Weekday};
use nexa_types::{ResourceId, RuleId, When};
use nexa_wire::snapshot::{Effect, Subject, Target};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// Who may, or may not, reach what. Deny beats allow; what no rule allows is denied.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Rule {
    /// The number of the rule, as people say it; never reused.
    #[schema(value_type = u32)]
    pub id: RuleId,
    /// Whether it admits or refuses.
    #[schema(value_type = EffectBody)]
    pub effect: Effect,
    /// Who it speaks of.
    #[schema(value_type = Vec<SubjectBody>)]
    pub who: Vec<Subject>,
    /// What they reach.
    #[schema(value_type = Vec<TargetBody>)]
    pub what: Vec<Target>,
    /// When it speaks; an empty object is always.
    #[schema(value_type = WhenBody)]
    pub when: When,
    /// Why it is there, for people.
    pub note: String,
    /// A rule that is not enabled is not in force.
    pub enabled: bool,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

/// What a matching rule does.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EffectBody {
    /// Admits.
    Allow,
    /// Refuses, whatever else allows.
    Deny,
}

impl From<EffectBody> for Effect {
    fn from(body: EffectBody) -> Self {
        match body {
            EffectBody::Allow => Self::Allow,
            EffectBody::Deny => Self::Deny,
        }
    }
}

/// Whom a rule speaks of, or which devices a resource is. `id` is left out for `everyone`, and only then.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SubjectBody {
    /// What `id` is the id of.
    pub kind: SubjectKind,
    /// The group, user or device.
    #[schema(nullable = false)]
    pub id: Option<Uuid>,
}

/// Kinds of subjects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SubjectKind {
    /// Every device.
    Everyone,
    /// All devices of a group's members.
    Group,
    /// All devices of a user.
    User,
    /// One device.
    Device,
}

/// What a rule speaks of.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TargetBody {
    /// What `id` is the id of.
    pub kind: TargetKind,
    /// The resource.
    pub id: Uuid,
}

/// Kinds of targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TargetKind {
    /// A named destination.
    Resource,
}

impl From<TargetBody> for Target {
    fn from(body: TargetBody) -> Self {
        match body.kind {
            TargetKind::Resource => Self::Resource(ResourceId(body.id)),
        }
    }
}

/// When a rule speaks. What is left out is no limit. At other times it is as if there were no such rule.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WhenBody {
    /// The first instant.
    #[schema(nullable = false)]
    pub valid_from: Option<DateTime<Utc>>,
    /// The instant after the last.
    #[schema(nullable = false)]
    pub valid_until: Option<DateTime<Utc>>,
    /// Hours that come again each week; any one of them is enough.
    #[serde(default)]
    #[schema(max_items = 50)]
    pub weekly: Vec<WindowBody>,
}

/// Hours that come again each week, by the clocks of a place. Where clocks are set forward and skip a time, the moment at
/// which they are set stands for it; where they are set back and show one twice, it opens at the first and closes at the
/// second.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WindowBody {
    /// On which it opens. At least one, none twice.
    #[schema(min_items = 1, max_items = 7)]
    pub days: Vec<DayBody>,
    /// When it opens, from 00:00.
    #[schema(example = "08:00")]
    pub from: String,
    /// When it closes, up to 24:00; where that is earlier than `from`, on the next day.
    #[schema(example = "18:00")]
    pub to: String,
    /// Whose clocks are meant, as the IANA database calls them.
    #[schema(example = "Europe/Berlin")]
    pub zone: String,
}

/// Days of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum DayBody {
    /// Monday.
    Mon,
    /// Tuesday.
    Tue,
    /// Wednesday.
    Wed,
    /// Thursday.
    Thu,
    /// Friday.
    Fri,
    /// Saturday.
    Sat,
    /// Sunday.
    Sun,
}

impl From<DayBody> for Weekday {
    fn from(body: DayBody) -> Self {
        match body {
            DayBody::Mon => Self::Mon,
            DayBody::Tue => Self::Tue,
            DayBody::Wed => Self::Wed,
            DayBody::Thu => Self::Thu,
            DayBody::Fri => Self::Fri,
            DayBody::Sat => Self::Sat,
            DayBody::Sun => Self::Sun,
        }
    }
}
