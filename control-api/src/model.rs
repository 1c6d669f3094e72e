//! What the API shows: shapes that handlers answer with and that audit rows hold. No secret is in any of them.

mod api_token;
mod audit;
mod device;
mod gateway;
mod group;
mod network;
mod page;
mod report;
mod resource;
mod rule;
mod user;

pub use api_token::{ApiToken, ApiTokenWithSecret, Scope};
pub use audit::{Actor, ActorKind, AuditEvent, ChainedEvent};
pub use device::{Device, DeviceStatus, Enrolled, EnrolmentToken, Profile, ProfileDevice, ProfileGateway};
pub use gateway::{Gateway, GatewayWithToken};
pub use group::{Group, Member};
pub use network::Network;
pub use page::{Page, PageQuery};
pub use report::{DeviceCounters, DropCount, DropEvent, DropQuery, GatewayHealth, Hits, RuleWithHits};
pub use resource::{Resource, TrafficBody};
pub use rule::{
    DayBody, EffectBody, Rule, SubjectBody, SubjectKind, TargetBody, TargetKind, WhenBody, WindowBody,
};
pub use user::{ActiveSession, PasswordLink, Role, Session, User};
