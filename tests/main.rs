//! Black-box tests over the command line and HTTP, with the real binary, the real Git and the real Codex CLI.
//!
//! All tests are modules of one program, because each test program links the whole product.

mod app_server;
mod chaos;
mod cli_story;
mod commit;
mod contained;
mod container_artifacts;
mod container_codex;
mod container_environment;
mod container_files;
mod container_power;
mod container_projects;
mod container_registries;
mod container_repositories;
mod container_setup;
mod container_shell;
mod containers;
mod crash_points;
mod durability;
mod examples;
mod full_disk;
mod health;
mod host_setup;
mod hostile;
mod http_api;
mod http_doors;
mod http_repositories;
mod http_streams;
mod images;
mod keeper;
mod large_logs;
mod log_format;
mod many;
mod notices;
mod omitted;
mod pages;
mod power;
mod publish;
mod queue;
mod real_codex;
mod runs;
mod script_worker;
mod service;
mod signing;
mod stage;
mod submodules;
mod supervisor;
mod survival;
mod take_home;
mod trash;
mod update;

/// The program under test.
const BINARY: &str = env!("CARGO_BIN_EXE_codex-orchestrator");
