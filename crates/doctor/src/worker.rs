//! Checks the worker. What is checked depends on the worker, which knows this itself.

use config::Config;
use runner::worker::Worker;

use super::{Finding, Level};

/// Returns the findings about the worker.
pub(super) async fn findings(config: &Config) -> Vec<Finding> {
    match Worker::find(config) {
        Ok(worker) => worker.findings(config).await,
        Err(problem) => {
            let problem = problem.to_problem();
            let finding = Finding::new("worker", Level::Failure, problem.report.message);
            vec![problem.report.hints.into_iter().fold(finding, Finding::hint)]
        }
    }
}
