use chrono::{SubsecRound as _, Utc};
use nexa_types::ResourceId;
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::error::Meaning as _;
use super::page::Window;
use super::rule::{in_use, parse_list, subject, unknown_subject};
use super::{Admin, Error, Reader, Result, input};
use crate::model::{Page, PageQuery, Resource, SubjectBody, TrafficBody};
use crate::store::{AuditEntry, Db, resource, rule};

/// A resource to make, or what one becomes.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResourceBody {
    /// 1 to 63 printable characters.
    pub name: String,
    /// Prefixes without host bits, none within another. At least one, unless there are `devices`.
    #[serde(default)]
    #[schema(example = json!(["10.20.0.0/24", "fd20::/64"]))]
    pub cidrs: Vec<String>,
    /// Devices that it is. None twice.
    #[serde(default)]
    #[schema(max_items = 500)]
    pub devices: Vec<SubjectBody>,
    /// At least one.
    #[schema(min_items = 1)]
    pub traffic: Vec<TrafficBody>,
}

impl Reader {
    /// Resources, oldest first.
    ///
    /// # Errors
    /// What is wrong with the query.
    pub async fn resources(&self, query: &PageQuery) -> Result<Page<Resource>> {
        let window = Window::<Uuid>::of(query)?;
        let mut db = self.store().connection().await?;
        let resources = resource::page(&mut db, window.cursor.unwrap_or_default(), window.rows()).await?;
        Ok(window.page(resources, |resource| resource.id.to_string()))
    }

    /// A resource.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn resource(&self, id: ResourceId) -> Result<Resource> {
        resource::get(&mut *self.store().connection().await?, id).await?.ok_or(Error::NotFound("resource"))
    }
}

impl Admin {
    /// Makes a resource.
    ///
    /// # Errors
    /// What is wrong with the request; `name_taken`; `unknown_id` where it names devices that there are not.
    pub async fn create_resource(&self, request: &ResourceBody) -> Result<Resource> {
        // Postgres keeps microseconds; the answer shows what is stored.
        let created_at = Utc::now().trunc_subsecs(6);
        let mut new = Resource {
            id: ResourceId(Uuid::now_v7()),
            name: String::new(),
            cidrs: Vec::new(),
            devices: Vec::new(),
            traffic: Vec::new(),
            created_at,
        };
        request.apply(&mut new)?;
        let mut change = self.store().visible_change().await?;
        let db = change.connection();
        let inserted = resource::insert(db, &new).await;
        inserted.when_violates("resources_name", || Error::name_taken("name"))?;
        insert_devices(db, &new).await?;
        change.commit(AuditEntry::new(&self.actor(), "resource.create", new.id).after(&new)).await?;
        Ok(new)
    }

    /// Replaces all of a resource but its id.
    ///
    /// # Errors
    /// As [`Self::create_resource`]; [`Error::NotFound`].
    pub async fn replace_resource(&self, id: ResourceId, request: &ResourceBody) -> Result<Resource> {
        let mut change = self.store().visible_change().await?;
        let db = change.connection();
        let before = resource::get(db, id).await?.ok_or(Error::NotFound("resource"))?;
        let mut after = before.clone();
        request.apply(&mut after)?;
        if after == before {
            return Ok(after);
        }
        let updated = resource::update(db, &after).await;
        updated.when_violates("resources_name", || Error::name_taken("name"))?;
        resource::delete_devices(db, id).await?;
        insert_devices(db, &after).await?;
        let entry = AuditEntry::new(&self.actor(), "resource.update", id).before(&before).after(&after);
        change.commit(entry).await?;
        Ok(after)
    }

    /// Removes a resource.
    ///
    /// # Errors
    /// [`Error::NotFound`]; `in_use` while a rule names it.
    pub async fn delete_resource(&self, id: ResourceId) -> Result<()> {
        let mut change = self.store().visible_change().await?;
        let db = change.connection();
        let before = resource::get(db, id).await?.ok_or(Error::NotFound("resource"))?;
        in_use(&rule::naming_resource(db, id).await?)?;
        resource::delete(db, id).await?;
        Ok(change.commit(AuditEntry::new(&self.actor(), "resource.delete", id).before(&before)).await?)
    }
}

impl ResourceBody {
    fn apply(&self, resource: &mut Resource) -> Result<()> {
        resource.name = input::name("name", &self.name)?;
        resource.devices = match &self.devices[..] {
            [] => Vec::new(),
            devices => parse_list("devices", devices, subject)?,
        };
        resource.cidrs = match &self.cidrs[..] {
            [] if !resource.devices.is_empty() => Vec::new(),
            cidrs => input::cidrs(cidrs)?,
        };
        resource.traffic = input::traffic(&self.traffic)?;
        Ok(())
    }
}

async fn insert_devices(db: &mut Db, resource: &Resource) -> Result<()> {
    for ((index, device), position) in resource.devices.iter().enumerate().zip(0..) {
        let inserted = resource::insert_device(db, resource.id, position, *device).await;
        unknown_subject(inserted, "resource_devices", &format!("devices[{index}].id"), *device)?;
    }
    Ok(())
}
