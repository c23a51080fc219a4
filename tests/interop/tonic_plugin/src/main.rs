//! A small device plug-in, and an independent peer for the tests of devicemgr.
//!
//! It exists because tests with devicemgr's own stand-in would share its mistakes: this one is made of tonic, prost
//! and h2, has nothing of devicemgr's, and behaves as plug-ins do. It serves its socket, registers, and when
//! kubelet.sock is made anew it makes its own socket anew and registers again. No other process has its socket's name.
//!
//! Every call is printed to standard output, one line each, so that a test can see who was asked what.

mod service;

use std::error::Error;
use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lexopt::{Parser, ValueExt};
use service::{Service, api};
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::{Endpoint, Server};

const CHECK_PERIOD: Duration = Duration::from_millis(100);
const REGISTER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long calls that are still running may take when the server is stopped.
const GRACE: Duration = Duration::from_secs(1);

type AnyResult<T> = Result<T, Box<dyn Error>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> AnyResult<()> {
    let mut plugin = Plugin::from_arguments(Parser::from_env())?;
    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! {
        result = plugin.stay_registered() => result?,
        _ = terminated.recv() => {}
    }
    plugin.stop().await;
    Ok(())
}

struct Plugin {
    directory: PathBuf,
    endpoint: String,
    resource: String,
    count: u32,
    options: api::DevicePluginOptions,
    server: Option<RunningServer>,
}

struct RunningServer {
    /// Dropped to tell the server, and the streams that it has open, to end.
    stop: watch::Sender<()>,
    task: JoinHandle<()>,
}

impl Plugin {
    fn from_arguments(mut parser: Parser) -> Result<Self, lexopt::Error> {
        let mut plugin = Plugin {
            directory: PathBuf::new(),
            endpoint: own_endpoint(),
            resource: String::new(),
            count: 1,
            options: api::DevicePluginOptions::default(),
            server: None,
        };
        while let Some(argument) = parser.next()? {
            use lexopt::Arg::Long;
            match argument {
                Long("directory") => plugin.directory = parser.value()?.into(),
                Long("resource") => plugin.resource = parser.value()?.string()?,
                Long("endpoint") => plugin.endpoint = parser.value()?.string()?,
                Long("count") => plugin.count = parser.value()?.parse()?,
                Long("pre-start") => plugin.options.pre_start_required = true,
                Long("preferred") => plugin.options.get_preferred_allocation_available = true,
                _ => return Err(argument.unexpected()),
            }
        }
        Ok(plugin)
    }

    /// Serves and registers once per life of kubelet.sock and of our own socket. It returns only when it cannot serve.
    async fn stay_registered(&mut self) -> AnyResult<()> {
        let mut known = None;
        loop {
            let current = fs::metadata(self.registry()).ok().map(identity);
            if current.is_some() && (current != known || !self.socket().exists()) {
                self.stop().await;
                self.serve()?;
                match self.register().await {
                    Ok(()) => {
                        known = current;
                        println!("registered");
                    }
                    Err(error) => eprintln!("not registered, trying again: {error}"),
                }
            }
            sleep(CHECK_PERIOD).await;
        }
    }

    fn registry(&self) -> PathBuf {
        self.directory.join("kubelet.sock")
    }

    fn socket(&self) -> PathBuf {
        self.directory.join(&self.endpoint)
    }

    fn serve(&mut self) -> io::Result<()> {
        remove_leftovers(&self.directory)?;
        remove_if_there(self.socket())?;
        let listener = UnixListenerStream::new(UnixListener::bind(self.socket())?);
        let (stop, stopped) = watch::channel(());
        let service = Service::new(&self.resource, self.count, self.options, stopped.clone());
        let task = tokio::spawn(async move {
            Server::builder()
                .add_service(service.into_server())
                .serve_with_incoming_shutdown(listener, service::dropped(stopped))
                .await
                .expect("the socket can be served");
        });
        self.server = Some(RunningServer { stop, task });
        Ok(())
    }

    /// Leaves no socket behind. Calls that are running may end: their peers are told to make no new ones.
    async fn stop(&mut self) {
        if let Some(RunningServer { stop, task }) = self.server.take() {
            drop(stop);
            let _ = timeout(GRACE, task).await;
            let _ = remove_if_there(self.socket());
        }
    }

    async fn register(&self) -> AnyResult<()> {
        let registry = Endpoint::try_from(format!("unix:{}", self.registry().display()))?;
        let channel = registry.timeout(REGISTER_TIMEOUT).connect().await?;
        let request = api::RegisterRequest {
            version: "v1beta1".to_owned(),
            endpoint: self.endpoint.clone(),
            resource_name: self.resource.clone(),
            options: Some(self.options),
        };
        api::registration_client::RegistrationClient::new(channel).register(request).await?;
        Ok(())
    }
}

/// No other process has this name.
fn own_endpoint() -> String {
    let started = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970");
    format!("tonic-{}.sock", started.as_nanos())
}

/// Removes the sockets of processes of this program that were killed: nobody serves them.
fn remove_leftovers(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let is_ours = name.starts_with("tonic-") && name.ends_with(".sock");
        if is_ours && UnixStream::connect(&path).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused) {
            remove_if_there(path)?;
        }
    }
    Ok(())
}

/// With the time: a file system may give the number of a deleted inode to the next one.
fn identity(found: Metadata) -> (u64, i64, i64) {
    (found.ino(), found.mtime(), found.mtime_nsec())
}

fn remove_if_there(path: PathBuf) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
