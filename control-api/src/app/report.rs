//! What gateways report. A gateway may be in foreign hands: whatever it says is bounded, and speaks of itself only.

use nexa_types::{DeviceId, GatewayId, RuleId};
use nexa_wire::gateway::{Counters, DropReport, Health, MAX_COUNTERS, MAX_DROPS, Refusal};
use nexa_wire::local::{Difference, NearMiss};

use super::page::Window;
use super::{Caller, Reader, Result};
use crate::model::{DeviceCounters, DropEvent, DropQuery, GatewayHealth, Page, PageQuery};
use crate::store::{Db, drop, report};

/// The longest reason of a refusal, characters.
pub(super) const REASON_MAX: usize = 500;

/// The longest name of a drop's reason, and hash, characters.
const NAME_MAX: usize = 64;

/// Most ports or protocols that are kept of what a rule allows.
const ALLOWED_MAX: usize = 32;

/// Most reasons in one report.
const REASONS_MAX: usize = 64;

/// Notes a gateway's health.
pub(super) async fn health(db: &mut Db, id: GatewayId, health: Health) -> Result<()> {
    let refusal = |Refusal { revision, reason }| Refusal { revision, reason: printable(&reason, REASON_MAX) };
    let health = Health {
        content_hash: health.content_hash.map(|hash| printable(&hash, NAME_MAX)),
        refusal: health.refusal.map(refusal),
        ..health
    };
    if let Some(drift @ 1..) = health.drift_entries {
        tracing::warn!(gateway = %id, drift, "somebody changed the maps of a gateway's kernel");
    }
    Ok(report::health(db, id, &health).await?)
}

/// Adds what a gateway counted.
pub(super) async fn counters(db: &mut Db, id: GatewayId, mut counters: Counters) -> Result<()> {
    counters.peers.truncate(MAX_COUNTERS);
    counters.rules.truncate(MAX_COUNTERS);
    counters.drops.retain(|drops| is_name(&drops.reason));
    counters.drops.truncate(REASONS_MAX);
    for peer in &mut counters.peers {
        peer.drops.retain(|reason, _| is_name(reason));
    }
    Ok(report::counters(db, id, &counters).await?)
}

/// Adds what a gateway dropped.
pub(super) async fn drops(db: &mut Db, id: GatewayId, mut drops: Vec<DropReport>, missed: u64) -> Result<()> {
    let beyond = drops.len().saturating_sub(MAX_DROPS);
    drops.truncate(MAX_DROPS);
    drops.retain(|report| is_name(&report.dropped.reason));
    for report in &mut drops {
        if let Some(NearMiss { differs, .. }) = &mut report.dropped.nearest {
            match differs {
                Difference::Port { allowed } => allowed.truncate(ALLOWED_MAX),
                Difference::Protocol { allowed } => allowed.truncate(ALLOWED_MAX),
                Difference::Time { .. } | Difference::Subject | Difference::Destination => {}
            }
        }
    }
    let missed = missed.saturating_add(beyond as u64);
    if missed > 0 {
        report::missed_drops(db, id, missed).await?;
    }
    Ok(drop::insert(db, id, &drops).await?)
}

impl Reader {
    /// How a gateway enforces its policy.
    ///
    /// # Errors
    /// [`super::Error::NotFound`].
    pub async fn gateway_health(&self, id: GatewayId) -> Result<GatewayHealth> {
        self.gateway(id).await?;
        Ok(report::gateway_health(&mut *self.store().connection().await?, id).await?)
    }

    /// What gateways dropped, newest first.
    ///
    /// # Errors
    /// What is wrong with the query.
    pub async fn drops(&self, query: DropQuery) -> Result<Page<DropEvent>> {
        let DropQuery { device, gateway, rule, reason, since, limit, cursor } = query;
        let window = Window::<i64>::of(&PageQuery { limit, cursor })?;
        let filter = drop::Filter { gateway, device, rule: rule.map(RuleId), reason, since };
        let mut db = self.store().connection().await?;
        let below = window.cursor.unwrap_or(i64::MAX);
        let events = drop::page(&mut db, &filter, below, window.rows()).await?;
        Ok(window.page(events, |event| event.id.to_string()))
    }
}

impl Caller {
    /// What gateways counted of a device: any for an administrator, one's own for a user.
    ///
    /// # Errors
    /// [`super::Error::NotFound`], for somebody else's too.
    pub async fn device_counters(&self, id: DeviceId) -> Result<DeviceCounters> {
        self.device(id).await?;
        Ok(report::device_counters(&mut *self.store().connection().await?, id).await?)
    }
}

/// The printable characters of what a gateway says, at most `max`.
pub(super) fn printable(text: &str, max: usize) -> String {
    text.chars().filter(|character| !character.is_control()).take(max).collect()
}

/// Whether a text can be the name of a reason.
fn is_name(text: &str) -> bool {
    (1..=NAME_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}
