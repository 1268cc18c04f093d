//! Every URL of the server, in one table: what answers, who may ask and why. The layers stand at the end.

use axum::Router;
use axum::routing::get;

use crate::server::assets;
use crate::server::state::AppState;

/// The whole server as one service.
pub fn router(app: AppState) -> Router {
    Router::new().route("/pkg/{file}", get(assets::package)).route("/favicon.svg", get(assets::favicon)).with_state(app)
}
