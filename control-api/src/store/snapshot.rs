use ipnet::IpNet;
use nexa_types::{Cidr, DeviceId, GatewayId, GroupId, UserId};
use nexa_wire::snapshot::{Peer, Resource, Rule};
use sqlx::PgConnection;
use uuid::Uuid;

use super::device::{key, v4, v6};
use super::{Result, StoreError, network, resource, rule};
use crate::model::ProfileGateway;

/// The port that a gateway's WireGuard listens on; `None` where the gateway is gone or has another token now.
pub(crate) async fn listen_port(
    db: &mut PgConnection,
    id: GatewayId,
    token_hash: &[u8; 32],
) -> Result<Option<u16>> {
    let port = sqlx::query_scalar!(
        "SELECT port FROM gateways WHERE id = $1 AND token_hash = $2",
        id.0,
        &token_hash[..]
    );
    port.fetch_optional(db)
        .await?
        .map(|port| u16::try_from(port).map_err(|_| StoreError::corrupt("gateways", port)))
        .transpose()
}

/// Devices that may connect, by id.
pub(crate) async fn peers(db: &mut PgConnection) -> Result<Vec<Peer>> {
    let rows = sqlx::query!(
        r#"SELECT d.id, d.name, d.user_id, u.display_name, d.public_key, d.v4, d.v6, d.expires_at,
                  ARRAY(SELECT m.group_id FROM group_members m WHERE m.user_id = u.id ORDER BY m.group_id) AS "groups!"
           FROM devices d JOIN users u ON u.id = d.user_id
           WHERE NOT d.disabled AND NOT u.disabled AND (d.expires_at IS NULL OR d.expires_at > now())
           ORDER BY d.id"#
    )
    .fetch_all(db)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(Peer {
                device: DeviceId(row.id),
                name: row.name,
                user: UserId(row.user_id),
                owner: row.display_name,
                groups: row.groups.into_iter().map(GroupId).collect(),
                public_key: key("devices", &row.public_key)?,
                v4: v4(row.v4)?,
                v6: v6(row.v6)?,
                expires_at: row.expires_at,
            })
        })
        .collect()
}

/// All resources, by id.
pub(crate) async fn resources(db: &mut PgConnection) -> Result<Vec<Resource>> {
    let resources = resource::page(db, Uuid::nil(), i64::MAX).await?;
    let on_the_wire = |resource: crate::model::Resource| Resource {
        id: resource.id,
        name: resource.name,
        cidrs: resource.cidrs,
        devices: resource.devices,
        traffic: resource.traffic,
    };
    Ok(resources.into_iter().map(on_the_wire).collect())
}

/// Rules in force, by number.
pub(crate) async fn rules(db: &mut PgConnection) -> Result<Vec<Rule>> {
    let rules = rule::page(db, 0, i64::MAX).await?.into_iter().filter(|rule| rule.enabled);
    let on_the_wire = |rule: crate::model::Rule| Rule {
        id: rule.id,
        effect: rule.effect,
        who: rule.who,
        what: rule.what,
        when: rule.when,
    };
    Ok(rules.map(on_the_wire).collect())
}

/// Prefixes of all resources that an enabled allow rule grants to a device, and addresses of devices that may connect
/// and that such resources are.
pub(crate) async fn granted(db: &mut PgConnection, device: DeviceId) -> Result<Vec<Cidr>> {
    let rows = sqlx::query_scalar!(
        r#"WITH granted AS (
             SELECT DISTINCT t.resource_id
             FROM devices d
             JOIN rule_subjects s ON s.kind = 'everyone' OR s.user_id = d.user_id OR s.device_id = d.id
               OR s.group_id IN (SELECT m.group_id FROM group_members m WHERE m.user_id = d.user_id)
             JOIN rules ON rules.id = s.rule_id AND rules.effect = 'allow' AND rules.enabled
             JOIN rule_targets t ON t.rule_id = rules.id
             WHERE d.id = $1
           )
           SELECT unnest(r.cidrs)::inet AS "cidr!: IpNet" FROM resources r JOIN granted g ON g.resource_id = r.id
           UNION
           SELECT unnest(ARRAY[d.v4, d.v6])
           FROM granted g
           JOIN resource_devices n ON n.resource_id = g.resource_id
           JOIN devices d ON n.kind = 'everyone' OR n.user_id = d.user_id OR n.device_id = d.id
             OR n.group_id IN (SELECT m.group_id FROM group_members m WHERE m.user_id = d.user_id)
           JOIN users u ON u.id = d.user_id
           WHERE d.id <> $1 AND NOT d.disabled AND NOT u.disabled AND (d.expires_at IS NULL OR d.expires_at > now())"#,
        device.0
    );
    rows.fetch_all(db).await?.into_iter().map(|net| network::cidr("resources", net)).collect()
}

/// Gateways that have a key, those connected first, then the oldest.
pub(crate) async fn gateways(db: &mut PgConnection) -> Result<Vec<ProfileGateway>> {
    let rows = sqlx::query!(
        r#"SELECT id, name, host, port, public_key AS "public_key!" FROM gateways WHERE public_key IS NOT NULL
           ORDER BY (connection_id IS NOT NULL AND last_seen > now() - interval '45 s') DESC, id"#
    )
    .fetch_all(db)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(ProfileGateway {
                id: GatewayId(row.id),
                name: row.name,
                public_key: key("gateways", &row.public_key)?,
                endpoint: format!("{}:{}", row.host, row.port),
            })
        })
        .collect()
}
