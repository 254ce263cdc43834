//! The kinds of workers, which differ in where Codex runs and who creates its container.
//!
//! A configured program is recognized by its content, not by its name.

/// The kind of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkerKind {
    /// Codex in a container: this program itself, as `codex-docker`.
    Container,
    /// Codex as a process of this machine, inside Codex's own sandbox.
    Host,
    /// The public `codex-docker` script, or a program with its interface: Codex in containers that this server does not create.
    Script,
    /// Any program that follows the contract.
    Custom,
}
