/// Whether the process runs.
#[utoipa::path(
    get,
    path = "/healthz",
    tag = "health",
    responses((status = 200, body = String, content_type = "text/plain")),
)]
pub(in crate::http) async fn live() -> &'static str {
    "ok\n"
}
