use chrono::{DateTime, Utc};
use ipnet::IpNet;
use nexa_types::ResourceId;
use nexa_wire::snapshot::{Subject, Traffic};
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::rule::subject_columns;
use super::{Result, StoreError, network};
use crate::model::Resource;

/// Makes a resource.
pub(crate) async fn insert(db: &mut PgConnection, resource: &Resource) -> Result<()> {
    sqlx::query!(
        "INSERT INTO resources (id, name, cidrs, traffic, created_at) VALUES ($1, $2, $3::inet[]::cidr[], $4, $5)",
        resource.id.0,
        resource.name,
        &nets(resource) as &[IpNet],
        Json(&resource.traffic) as _,
        resource.created_at,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Writes all of a resource but its id and age.
pub(crate) async fn update(db: &mut PgConnection, resource: &Resource) -> Result<()> {
    sqlx::query!(
        "UPDATE resources SET name = $2, cidrs = $3::inet[]::cidr[], traffic = $4 WHERE id = $1",
        resource.id.0,
        resource.name,
        &nets(resource) as &[IpNet],
        Json(&resource.traffic) as _,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Adds devices that the resource is. Refused by a foreign key where they are unknown.
pub(crate) async fn insert_device(
    db: &mut PgConnection,
    resource: ResourceId,
    position: i32,
    device: Subject,
) -> Result<()> {
    let (kind, [group, user, device]) = subject_columns(device);
    sqlx::query!(
        "INSERT INTO resource_devices (resource_id, position, kind, group_id, user_id, device_id)
         VALUES ($1, $2, $3, $4, $5, $6)",
        resource.0,
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

/// Takes all devices out of the resource.
pub(crate) async fn delete_devices(db: &mut PgConnection, id: ResourceId) -> Result<()> {
    sqlx::query!("DELETE FROM resource_devices WHERE resource_id = $1", id.0).execute(db).await?;
    Ok(())
}

/// Names of the resources that are a group's, a user's, a device, or any device of that user, in order.
pub(crate) async fn naming(db: &mut PgConnection, id: Uuid) -> Result<Vec<String>> {
    let names = sqlx::query_scalar!(
        "SELECT DISTINCT r.name FROM resource_devices d JOIN resources r ON r.id = d.resource_id
         WHERE d.group_id = $1 OR d.user_id = $1 OR d.device_id = $1
            OR d.device_id IN (SELECT id FROM devices WHERE user_id = $1)
         ORDER BY r.name",
        id
    );
    Ok(names.fetch_all(db).await?)
}

/// The resource, if there is one.
pub(crate) async fn get(db: &mut PgConnection, id: ResourceId) -> Result<Option<Resource>> {
    let row = sqlx::query_as!(
        ResourceRow,
        r#"SELECT id AS "id!", name AS "name!", cidrs AS "cidrs!: Vec<IpNet>",
                  traffic AS "traffic!: Json<Vec<Traffic>>", devices AS "devices!: Json<Vec<Subject>>",
                  created_at AS "created_at!"
           FROM resource_details WHERE id = $1"#,
        id.0
    );
    row.fetch_optional(db).await?.map(Resource::try_from).transpose()
}

/// Up to `limit` resources after id `after`.
pub(crate) async fn page(db: &mut PgConnection, after: Uuid, limit: i64) -> Result<Vec<Resource>> {
    let rows = sqlx::query_as!(
        ResourceRow,
        r#"SELECT id AS "id!", name AS "name!", cidrs AS "cidrs!: Vec<IpNet>",
                  traffic AS "traffic!: Json<Vec<Traffic>>", devices AS "devices!: Json<Vec<Subject>>",
                  created_at AS "created_at!"
           FROM resource_details WHERE id > $1 ORDER BY id LIMIT $2"#,
        after,
        limit,
    );
    rows.fetch_all(db).await?.into_iter().map(Resource::try_from).collect()
}

/// Removes a resource. Refused by a foreign key while a rule names it.
pub(crate) async fn delete(db: &mut PgConnection, id: ResourceId) -> Result<()> {
    sqlx::query!("DELETE FROM resources WHERE id = $1", id.0).execute(db).await?;
    Ok(())
}

fn nets(resource: &Resource) -> Vec<IpNet> {
    resource.cidrs.iter().map(|cidr| cidr.net()).collect()
}

struct ResourceRow {
    id: Uuid,
    name: String,
    cidrs: Vec<IpNet>,
    traffic: Json<Vec<Traffic>>,
    devices: Json<Vec<Subject>>,
    created_at: DateTime<Utc>,
}

impl TryFrom<ResourceRow> for Resource {
    type Error = StoreError;

    fn try_from(row: ResourceRow) -> Result<Self> {
        let cidrs =
            row.cidrs.into_iter().map(|net| network::cidr("resources", net)).collect::<Result<_>>()?;
        let (id, devices, traffic) = (ResourceId(row.id), row.devices.0, row.traffic.0);
        Ok(Self { id, name: row.name, cidrs, devices, traffic, created_at: row.created_at })
    }
}
