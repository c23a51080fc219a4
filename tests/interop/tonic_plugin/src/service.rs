//! What the manager asks of the plug-in.

use std::collections::HashMap;
use std::pin::Pin;

use tokio::sync::watch;
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

use api::device_plugin_server::{DevicePlugin, DevicePluginServer};

pub mod api {
    tonic::include_proto!("v1beta1");
}

pub struct Service {
    resource: String,
    ids: Vec<String>,
    options: api::DevicePluginOptions,
    stopped: watch::Receiver<()>,
}

impl Service {
    /// `stopped` ends the streams when its sender is dropped.
    pub fn new(resource: &str, count: u32, options: api::DevicePluginOptions, stopped: watch::Receiver<()>) -> Self {
        let ids = (0..count).map(|number| format!("dev-{number}")).collect();
        Service { resource: resource.to_owned(), ids, options, stopped }
    }

    pub fn into_server(self) -> DevicePluginServer<Self> {
        DevicePluginServer::new(self)
    }

    fn answer(&self, ids: &[String]) -> Result<api::ContainerAllocateResponse, Status> {
        let joined = ids.join(",");
        println!("Allocate {joined}");
        if let Some(id) = ids.iter().find(|id| !self.ids.contains(id)) {
            return Err(Status::invalid_argument(format!("there is no device {id:?}")));
        }
        Ok(api::ContainerAllocateResponse {
            envs: HashMap::from([("TONIC_DEVICES".to_owned(), joined)]),
            mounts: vec![api::Mount {
                container_path: "/run/firmware".to_owned(),
                host_path: "/lib/firmware".to_owned(),
                read_only: true,
            }],
            devices: ids.iter().map(|id| device_node(id)).collect(),
            annotations: HashMap::new(),
            cdi_devices: vec![api::CdiDevice { name: format!("{}=all", self.resource) }],
        })
    }
}

#[tonic::async_trait]
impl DevicePlugin for Service {
    type ListAndWatchStream = Pin<Box<dyn Stream<Item = Result<api::ListAndWatchResponse, Status>> + Send>>;

    async fn get_device_plugin_options(
        &self,
        _: Request<api::Empty>,
    ) -> Result<Response<api::DevicePluginOptions>, Status> {
        Ok(Response::new(self.options))
    }

    async fn list_and_watch(&self, _: Request<api::Empty>) -> Result<Response<Self::ListAndWatchStream>, Status> {
        let devices = self.ids.iter().map(|id| healthy_device(id)).collect();
        let stopped = self.stopped.clone();
        Ok(Response::new(Box::pin(async_stream::stream! {
            yield Ok(api::ListAndWatchResponse { devices });
            dropped(stopped).await;
        })))
    }

    async fn get_preferred_allocation(
        &self,
        request: Request<api::PreferredAllocationRequest>,
    ) -> Result<Response<api::PreferredAllocationResponse>, Status> {
        let container_responses = request.into_inner().container_requests.into_iter().map(prefer_last).collect();
        Ok(Response::new(api::PreferredAllocationResponse { container_responses }))
    }

    async fn allocate(
        &self,
        request: Request<api::AllocateRequest>,
    ) -> Result<Response<api::AllocateResponse>, Status> {
        let requests = request.into_inner().container_requests;
        let container_responses = requests.iter().map(|one| self.answer(&one.devices_ids)).collect::<Result<_, _>>()?;
        Ok(Response::new(api::AllocateResponse { container_responses }))
    }

    async fn pre_start_container(
        &self,
        request: Request<api::PreStartContainerRequest>,
    ) -> Result<Response<api::PreStartContainerResponse>, Status> {
        println!("PreStartContainer {}", request.into_inner().devices_ids.join(","));
        Ok(Response::new(api::PreStartContainerResponse {}))
    }
}

/// Returns when the sender of `stopped` is dropped: nothing is ever sent.
pub async fn dropped(mut stopped: watch::Receiver<()>) {
    let _ = stopped.changed().await;
}

fn healthy_device(id: &str) -> api::Device {
    api::Device { id: id.to_owned(), health: "Healthy".to_owned(), topology: None }
}

fn device_node(id: &str) -> api::DeviceSpec {
    api::DeviceSpec {
        container_path: format!("/dev/{id}"),
        host_path: "/dev/null".to_owned(),
        permissions: "rw".to_owned(),
    }
}

fn prefer_last(question: api::ContainerPreferredAllocationRequest) -> api::ContainerPreferredAllocationResponse {
    let size = question.allocation_size;
    println!("GetPreferredAllocation {} {size}", question.available_device_i_ds.join(","));
    let must_include = question.must_include_device_i_ds;
    let others = question.available_device_i_ds.into_iter().rev().filter(|id| !must_include.contains(id));
    let wanted = usize::try_from(size).unwrap_or_default();
    let device_i_ds = must_include.iter().cloned().chain(others).take(wanted).collect();
    api::ContainerPreferredAllocationResponse { device_i_ds }
}
