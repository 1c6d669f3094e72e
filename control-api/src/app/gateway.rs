use nexa_types::GatewayId;
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::error::Meaning as _;
use super::page::Window;
use super::{Admin, Error, Reader, Result, input, token};
use crate::model::{Gateway, GatewayWithToken, Page, PageQuery};
use crate::store::{AuditEntry, gateway};

/// A gateway to make.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateGateway {
    /// 1 to 63 printable characters.
    pub name: String,
    /// Where clients reach its WireGuard: `host:port`, IPv6 addresses in brackets. It listens on this port.
    #[schema(example = "vpn.example.com:51900")]
    pub endpoint: String,
}

/// What to change of a gateway; what is left out stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateGateway {
    /// 1 to 63 printable characters.
    #[schema(nullable = false)]
    pub name: Option<String>,
    /// Where clients reach its WireGuard: `host:port`.
    #[schema(nullable = false)]
    pub endpoint: Option<String>,
}

impl Reader {
    /// Gateways, oldest first.
    ///
    /// # Errors
    /// What is wrong with the query.
    pub async fn gateways(&self, query: &PageQuery) -> Result<Page<Gateway>> {
        let window = Window::<Uuid>::of(query)?;
        let mut db = self.store().connection().await?;
        let gateways = gateway::page(&mut db, window.cursor.unwrap_or_default(), window.rows()).await?;
        Ok(window.page(gateways, |gateway| gateway.id.to_string()))
    }

    /// A gateway.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn gateway(&self, id: GatewayId) -> Result<Gateway> {
        gateway::get(&mut *self.store().connection().await?, id).await?.ok_or(Error::NotFound("gateway"))
    }
}

impl Admin {
    /// Makes a gateway with its token.
    ///
    /// # Errors
    /// What is wrong with the request; `name_taken`.
    pub async fn create_gateway(&self, request: &CreateGateway) -> Result<GatewayWithToken> {
        let name = input::name("name", &request.name)?;
        let (host, port) = input::endpoint(&request.endpoint)?;
        let (token, token_hash) = token::new()?;
        let id = GatewayId(Uuid::now_v7());
        let mut change = self.store().change().await?;
        let db = change.connection();
        let new = gateway::NewGateway { id, name: &name, host: &host, port, token_hash: &token_hash };
        gateway::insert(db, new).await.when_violates("gateways_name", || Error::name_taken("name"))?;
        let gateway = gateway::get(db, id).await?.ok_or(Error::NotFound("gateway"))?;
        change.commit(AuditEntry::new(&self.actor(), "gateway.create", id).after(&gateway)).await?;
        Ok(GatewayWithToken { gateway, token })
    }

    /// Changes a gateway's name or endpoint.
    ///
    /// # Errors
    /// What is wrong with the request; [`Error::NotFound`]; `name_taken`.
    pub async fn update_gateway(&self, id: GatewayId, request: &UpdateGateway) -> Result<Gateway> {
        let name = request.name.as_deref().map(|text| input::name("name", text)).transpose()?;
        let endpoint = request.endpoint.as_deref().map(input::endpoint).transpose()?;
        let mut change = self.store().visible_change().await?;
        let db = change.connection();
        let before = gateway::get(db, id).await?.ok_or(Error::NotFound("gateway"))?;
        let (host, port) = match endpoint {
            Some(endpoint) => endpoint,
            None => input::endpoint(&before.endpoint)?,
        };
        let name = name.as_deref().unwrap_or(&before.name);
        if name == before.name && format!("{host}:{port}") == before.endpoint {
            return Ok(before);
        }
        let updated = gateway::update(db, id, name, &host, port).await;
        updated.when_violates("gateways_name", || Error::name_taken("name"))?;
        let after = gateway::get(db, id).await?.ok_or(Error::NotFound("gateway"))?;
        change
            .commit(AuditEntry::new(&self.actor(), "gateway.update", id).before(&before).after(&after))
            .await?;
        Ok(after)
    }

    /// Removes a gateway; its stream ends.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn delete_gateway(&self, id: GatewayId) -> Result<()> {
        let mut change = self.store().visible_change().await?;
        let db = change.connection();
        let before = gateway::get(db, id).await?.ok_or(Error::NotFound("gateway"))?;
        gateway::delete(db, id).await?;
        Ok(change.commit(AuditEntry::new(&self.actor(), "gateway.delete", id).before(&before)).await?)
    }

    /// Gives a gateway a new token; the old one ends at once, with the stream that used it.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn renew_gateway_token(&self, id: GatewayId) -> Result<GatewayWithToken> {
        let (token, token_hash) = token::new()?;
        // Seen by the gateway whose stream must end.
        let mut change = self.store().visible_change().await?;
        let db = change.connection();
        gateway::get(db, id).await?.ok_or(Error::NotFound("gateway"))?;
        gateway::set_token(db, id, &token_hash).await?;
        let gateway = gateway::get(db, id).await?.ok_or(Error::NotFound("gateway"))?;
        change.commit(AuditEntry::new(&self.actor(), "gateway.renew_token", id)).await?;
        Ok(GatewayWithToken { gateway, token })
    }
}
