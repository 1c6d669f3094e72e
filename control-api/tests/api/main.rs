//! The API against a real Postgres: one private cluster for this program, one database per test.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

mod support;

mod api_token;
mod audit;
mod audit_chain;
mod authorization;
mod bootstrap;
mod command_line;
mod device;
mod doctor;
mod document;
mod enrolment;
mod gateway;
mod group;
mod http;
mod network;
mod outage;
mod password_link;
mod profile;
mod report;
mod resource;
mod rule;
mod secrets;
mod session;
mod stream;
mod user;
mod web;
