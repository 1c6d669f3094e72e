use nexa_types::{GroupId, UserId};
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::error::Meaning as _;
use super::page::Window;
use super::rule::is_named;
use super::{Admin, Error, Reader, Result, input};
use crate::model::{Group, Page, PageQuery};
use crate::store::{AuditEntry, group, user};

/// A group to make.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateGroup {
    /// 1 to 63 printable characters.
    pub name: String,
}

impl Reader {
    /// Groups with their members, oldest first.
    ///
    /// # Errors
    /// What is wrong with the query.
    pub async fn groups(&self, query: &PageQuery) -> Result<Page<Group>> {
        let window = Window::<Uuid>::of(query)?;
        let mut db = self.store().connection().await?;
        let groups = group::page(&mut db, window.cursor.unwrap_or_default(), window.rows()).await?;
        Ok(window.page(groups, |group| group.id.to_string()))
    }

    /// A group with its members.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn group(&self, id: GroupId) -> Result<Group> {
        group::get(&mut *self.store().connection().await?, id).await?.ok_or(Error::NotFound("group"))
    }
}

impl Admin {
    /// Makes a group.
    ///
    /// # Errors
    /// What is wrong with the request; `name_taken`.
    pub async fn create_group(&self, request: &CreateGroup) -> Result<Group> {
        let name = input::name("name", &request.name)?;
        let mut change = self.store().change().await?;
        let group = group::insert(change.connection(), GroupId(Uuid::now_v7()), &name).await;
        let group = group.when_violates("groups_name", || Error::name_taken("name"))?;
        change.commit(AuditEntry::new(&self.actor(), "group.create", group.id).after(&group)).await?;
        Ok(group)
    }

    /// Removes a group.
    ///
    /// # Errors
    /// [`Error::NotFound`]; `in_use` while a rule or a resource names it.
    pub async fn delete_group(&self, id: GroupId) -> Result<()> {
        let mut change = self.store().visible_change().await?;
        let db = change.connection();
        let before = group::get(db, id).await?.ok_or(Error::NotFound("group"))?;
        is_named(db, id.0).await?;
        group::delete(db, id).await?;
        Ok(change.commit(AuditEntry::new(&self.actor(), "group.delete", id).before(&before)).await?)
    }

    /// Puts a user in a group; does nothing where he is in it.
    ///
    /// # Errors
    /// [`Error::NotFound`] for group or user.
    pub async fn add_member(&self, id: GroupId, member: UserId) -> Result<()> {
        let mut change = self.store().visible_change().await?;
        let db = change.connection();
        let before = group::get(db, id).await?.ok_or(Error::NotFound("group"))?;
        user::lock(db, member).await?.ok_or(Error::NotFound("user"))?;
        if !group::add_member(db, id, member).await? {
            return Ok(());
        }
        let after = group::get(db, id).await?.ok_or(Error::NotFound("group"))?;
        let actor = self.actor();
        Ok(change
            .commit(AuditEntry::new(&actor, "group.add_member", id).before(&before).after(&after))
            .await?)
    }

    /// Takes a user out of a group.
    ///
    /// # Errors
    /// [`Error::NotFound`] for the group, or where the user is not in it.
    pub async fn remove_member(&self, id: GroupId, member: UserId) -> Result<()> {
        let mut change = self.store().visible_change().await?;
        let db = change.connection();
        let before = group::get(db, id).await?.ok_or(Error::NotFound("group"))?;
        if !group::remove_member(db, id, member).await? {
            return Err(Error::NotFound("member of this group"));
        }
        let after = group::get(db, id).await?.ok_or(Error::NotFound("group"))?;
        let actor = self.actor();
        Ok(change
            .commit(AuditEntry::new(&actor, "group.remove_member", id).before(&before).after(&after))
            .await?)
    }
}
