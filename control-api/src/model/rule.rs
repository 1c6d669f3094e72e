use chrono::{DateTime, Utc};
use nexa_types::{ResourceId, RuleId};
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
