//! Copies the output of a service to a file in the run's folder, up to a limit. The container cannot see the file.

use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use bollard::Docker;
use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::query_parameters::AttachContainerOptionsBuilder;
use fs_err::os::unix::fs::OpenOptionsExt as _;
use futures_util::StreamExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::task::JoinHandle;

use crate::folder::private_folder;

/// The maximum size of the file. The rest of the output is dropped.
const LIMIT: u64 = 16 << 20;

/// The number of bytes at the end of the file that are read for its last lines.
const END: u64 = 16 << 10;

/// The log of a service.
pub(super) struct ServiceLog {
    path: PathBuf,
    copying: Option<JoinHandle<()>>,
}

impl ServiceLog {
    /// Creates the file, or continues an existing one.
    pub(super) fn new(path: PathBuf) -> io::Result<Self> {
        private_folder(path.parent().unwrap_or(Path::new("/")))?;
        open(&path)?;
        Ok(Self { path, copying: None })
    }

    /// Starts to copy the output of a container.
    pub(super) async fn follow(&mut self, docker: &Docker, container: &str) -> Result<(), Error> {
        let options = AttachContainerOptionsBuilder::new().stdout(true).stderr(true).stream(true).build();
        let mut output = docker.attach_container(container, Some(options)).await?.output;
        let file = open(&self.path).map_err(|err| Error::IOError { err })?;
        let mut room = LIMIT.saturating_sub(file.metadata().map_or(0, |found| found.len()));
        let mut file = tokio::fs::File::from_std(file.into_parts().0);
        self.copying = Some(tokio::spawn(async move {
            while let Some(Ok(piece)) = output.next().await {
                let (LogOutput::StdOut { message } | LogOutput::StdErr { message } | LogOutput::Console { message }) = piece
                else {
                    continue;
                };
                let fits = usize::try_from(room).unwrap_or(usize::MAX).min(message.len());
                room -= fits as u64;
                let written = async {
                    file.write_all(&message[..fits]).await?;
                    file.flush().await
                };
                if let Err(error) = written.await {
                    tracing::debug!(%error, "could not write the log of a service");
                    room = 0;
                }
            }
        }));
        Ok(())
    }

    /// Returns the last lines of the log.
    pub(super) fn last_lines(&self, most: usize) -> Vec<String> {
        let read = || -> io::Result<Vec<u8>> {
            let mut file = fs_err::File::open(&self.path)?;
            let start = file.metadata()?.len().saturating_sub(END);
            file.seek(SeekFrom::Start(start))?;
            let mut text = Vec::new();
            file.take(END).read_to_end(&mut text)?;
            Ok(text)
        };
        let text = read().unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        lines[lines.len().saturating_sub(most)..].iter().map(|line| (*line).to_owned()).collect()
    }
}

impl Drop for ServiceLog {
    fn drop(&mut self) {
        if let Some(copying) = self.copying.take() {
            copying.abort();
        }
    }
}

fn open(path: &Path) -> io::Result<fs_err::File> {
    fs_err::File::options().create(true).append(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_lines_are_shown() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = ServiceLog::new(folder.path().join("services/db.log")).expect("a new file");
        assert!(log.last_lines(5).is_empty());
        let lines: Vec<String> = (0..5000).map(|number| format!("line {number}\n\n")).collect();
        fs_err::write(&log.path, lines.concat()).expect("writable");
        assert_eq!(log.last_lines(2), ["line 4998", "line 4999"]);
        ServiceLog::new(log.path.clone()).expect("an existing file");
        assert_eq!(log.last_lines(1), ["line 4999"], "an existing log is continued");
    }
}
