//! Discovery items: made, listed, changed, removed; and the calls about them, of a service of their own.

use http::Uri;
use im_core::text::{first_unseen, unseen_kind};
use im_core::time::UnixSeconds;
use im_proto_rpc::v1::discovery_items_server::DiscoveryItems;
use im_proto_rpc::v1::{
    CreateDiscoveryItemRequest, DiscoveryItemList, DiscoveryItemRecord, GetDiscoveryItemRequest,
    ListDiscoveryItemsRequest, RemoveDiscoveryItemRequest, UpdateDiscoveryItemRequest,
};
use im_store::{DiscoveryItem, DiscoveryItemRow};
use serde_json::{Value, json};
use tonic::{Request, Response, Status};

use super::notes::Changed;
use super::{AdminError, AdminService};

/// Longest name, characters, as the original's column.
const MAX_NAME: usize = 64;

/// Longest URL, bytes.
const MAX_URL: usize = 256;

/// Greatest priority, which is the greatest number that the API's document has.
const MAX_PRIORITY: u32 = 0x7fff_ffff;

impl AdminService {
    async fn make_item(
        &self,
        request: CreateDiscoveryItemRequest,
    ) -> Result<DiscoveryItemRecord, AdminError> {
        let item = judged(DiscoveryItem {
            name: request.name,
            url: request.url,
            priority: request.priority,
        })?;
        let now = UnixSeconds::now();
        let would_be = record(DiscoveryItemRow {
            id: 0,
            item: item.clone(),
            created: now,
            updated: now,
        });
        if request.dry_run {
            return Ok(would_be);
        }
        let changed = Changed::new_of("discovery item")
            .after(seen(&item))
            .answer(&would_be);
        let store = self.noting(changed);
        let most = self.config.administration.discovery_items;
        let id = store.create_discovery_item(&item, now, most).await?;
        Ok(DiscoveryItemRecord { id, ..would_be })
    }

    async fn item(&self, id: u32) -> Result<DiscoveryItemRow, AdminError> {
        let found = self.store.discovery_item(id).await?;
        found.ok_or_else(|| AdminError::NotFound(format!("there is no discovery item {id}")))
    }

    async fn change_item(
        &self,
        request: UpdateDiscoveryItemRequest,
    ) -> Result<DiscoveryItemRecord, AdminError> {
        // Nobody changes it meanwhile.
        let _changing = self.changing.lock().await;
        let old = self.item(request.id).await?;
        let was = old.item.clone();
        let item = judged(DiscoveryItem {
            name: request.name.unwrap_or_else(|| was.name.clone()),
            url: request.url.unwrap_or_else(|| was.url.clone()),
            priority: request.priority.unwrap_or(was.priority),
        })?;
        if request.dry_run {
            return Ok(record(old));
        }
        let now = UnixSeconds::now();
        let is = record(DiscoveryItemRow {
            item: item.clone(),
            updated: now,
            ..old
        });
        let changed = Changed::of(format!("discovery item {}", request.id))
            .before(seen(&was))
            .after(seen(&item))
            .answer(&is);
        let store = self.noting(changed);
        store.change_discovery_item(request.id, &item, now).await?;
        Ok(is)
    }

    async fn end_item(
        &self,
        request: RemoveDiscoveryItemRequest,
    ) -> Result<DiscoveryItemRecord, AdminError> {
        let id = request.id;
        let row = self.item(id).await?;
        let before = seen(&row.item);
        let was = record(row);
        if request.dry_run {
            return Ok(was);
        }
        let changed = Changed::of(format!("discovery item {id}"))
            .before(before)
            .answer(&was);
        self.noting(changed).remove_discovery_item(id).await?;
        Ok(was)
    }
}

#[tonic::async_trait]
impl DiscoveryItems for AdminService {
    async fn create_discovery_item(
        &self,
        request: Request<CreateDiscoveryItemRequest>,
    ) -> Result<Response<DiscoveryItemRecord>, Status> {
        let work = |admin: Self, it| async move { admin.make_item(it).await };
        self.administer(request, work).await
    }

    async fn list_discovery_items(
        &self,
        _: Request<ListDiscoveryItemsRequest>,
    ) -> Result<Response<DiscoveryItemList>, Status> {
        let rows = self.store.discovery_items().await;
        let items = rows.map_err(AdminError::from)?.into_iter().map(record);
        Ok(Response::new(DiscoveryItemList {
            items: items.collect(),
        }))
    }

    async fn get_discovery_item(
        &self,
        request: Request<GetDiscoveryItemRequest>,
    ) -> Result<Response<DiscoveryItemRecord>, Status> {
        let row = self.item(request.into_inner().id).await?;
        Ok(Response::new(record(row)))
    }

    async fn update_discovery_item(
        &self,
        request: Request<UpdateDiscoveryItemRequest>,
    ) -> Result<Response<DiscoveryItemRecord>, Status> {
        let work = |admin: Self, it| async move { admin.change_item(it).await };
        self.administer(request, work).await
    }

    async fn remove_discovery_item(
        &self,
        request: Request<RemoveDiscoveryItemRequest>,
    ) -> Result<Response<DiscoveryItemRecord>, Status> {
        let work = |admin: Self, it| async move { admin.end_item(it).await };
        self.administer(request, work).await
    }
}

/// Clients show the name and open the URL, whatever it is.
fn judged(item: DiscoveryItem) -> Result<DiscoveryItem, AdminError> {
    let DiscoveryItem {
        name,
        url,
        priority,
    } = &item;
    if *priority > MAX_PRIORITY {
        return Err(AdminError::Invalid(format!(
            "the priority is 0 to {MAX_PRIORITY}, not {priority}"
        )));
    }
    let characters = name.chars().count();
    if !(1..=MAX_NAME).contains(&characters) || name.trim().is_empty() {
        return Err(AdminError::Invalid(format!(
            "the name has 1 to {MAX_NAME} characters, this one has {characters}"
        )));
    }
    if let Some((_, c)) = first_unseen(name, true) {
        let (code, kind) = (u32::from(c), unseen_kind(c));
        return Err(AdminError::Invalid(format!(
            "the name has U+{code:04X}, {kind}"
        )));
    }
    if url.len() > MAX_URL {
        return Err(AdminError::Invalid(format!(
            "the url has {MAX_URL} bytes at most, this one has {}",
            url.len()
        )));
    }
    let parsed: Option<Uri> = url.parse().ok();
    let is_web = |parsed: &Uri| {
        let scheme = parsed.scheme_str();
        matches!(scheme, Some("http" | "https")) && parsed.host().is_some_and(|it| !it.is_empty())
    };
    if !parsed.as_ref().is_some_and(is_web) {
        return Err(AdminError::Invalid(format!(
            "{url:?} is no URL of http or https"
        )));
    }
    Ok(item)
}

fn record(row: DiscoveryItemRow) -> DiscoveryItemRecord {
    DiscoveryItemRecord {
        id: row.id,
        name: row.item.name,
        url: row.item.url,
        priority: row.item.priority,
        created: row.created.get(),
        updated: row.updated.get(),
    }
}

/// What a row of the audit log shows of an item.
fn seen(item: &DiscoveryItem) -> Value {
    json!({ "name": item.name, "url": item.url, "priority": item.priority })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(name: &str, url: &str) -> DiscoveryItem {
        DiscoveryItem {
            name: name.to_owned(),
            url: url.to_owned(),
            priority: 1,
        }
    }

    #[test]
    fn an_item_has_a_short_name_and_a_url_of_the_web() {
        let long = "安".repeat(MAX_NAME);
        let around = "https://example.com/".len();
        let url = format!("https://example.com/{}", "x".repeat(MAX_URL - around));
        let last = |priority| DiscoveryItem {
            priority,
            ..item("Wiki", "http://wiki/")
        };
        assert!(judged(last(MAX_PRIORITY + 1)).is_err());
        for good in [last(MAX_PRIORITY), item(&long, &url)] {
            assert_eq!(judged(good.clone()).unwrap(), good);
        }
        for bad in [
            item("", "http://wiki/"),
            item("  ", "http://wiki/"),
            item(&format!("{long}x"), "http://wiki/"),
            item("a\u{1b}[2J", "http://wiki/"),
            item("Wiki", ""),
            item("Wiki", "wiki"),
            item("Wiki", "javascript:alert(1)"),
            item("Wiki", "file:///etc/passwd"),
            item("Wiki", "http:///"),
            item("Wiki", &format!("{url}x")),
        ] {
            assert!(judged(bad.clone()).is_err(), "{bad:?}");
        }
    }
}
