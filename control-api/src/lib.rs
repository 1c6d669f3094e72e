//! The control plane of NexaVPN: users, policy, enrolment and gateway snapshots over Postgres.
//!
//! Requests go `http/<noun>/<verb>.rs` → `app/<noun>.rs` → `store/<noun>.rs`. `http` knows axum, `app` knows the
//! rules of the house, `store` knows SQL, and none of them knows what the next but one does. What `app` does, it does
//! for a [`app::Caller`] or an [`app::Admin`], which only authorization makes.

pub mod app;
pub mod audit_chain;
pub mod config;
pub mod http;
pub mod model;
pub mod serve;
mod store;
