//! One method per call of RuntimeService and ImageService, each with the deadline that the kubelet gives it.

use std::path::Path;
use std::time::Duration;

use tonic::transport::{Channel, Endpoint};

use crate::v1;
use crate::v1::image_service_client::ImageServiceClient;
use crate::v1::runtime_service_client::RuntimeServiceClient;

/// The kubelet's `--runtime-request-timeout`.
const CALL_TIMEOUT: Duration = Duration::from_secs(120);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Lists of a full node outgrow gRPC's default of 4 MiB.
const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// Why a call to the runtime gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The path cannot name a unix socket.
    #[error("container runtime socket {path:?} is not usable: {reason}")]
    Socket {
        /// The path as given.
        path: std::path::PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The runtime, or the connection to it, refused. Printed as gRPC clients of Kubernetes print it, since it ends
    /// up in the status of pods.
    #[error("rpc error: code = {} desc = {}", code_name(.0.code()), .0.message())]
    Call(#[from] Box<tonic::Status>),
}

impl Error {
    /// The gRPC code, where the call was made.
    #[must_use]
    pub fn code(&self) -> Option<tonic::Code> {
        match self {
            Error::Socket { .. } => None,
            Error::Call(status) => Some(status.code()),
        }
    }

    /// Whether the object that the call names does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.code() == Some(tonic::Code::NotFound)
    }

    /// Whether the call ran out of time, at this end or at the runtime's.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        match self {
            Error::Socket { .. } => false,
            Error::Call(status) => {
                status.code() == tonic::Code::DeadlineExceeded
                    || (status.code() == tonic::Code::Cancelled && status.message().contains("Timeout"))
            }
        }
    }

    /// The runtime's own words, without the code.
    #[must_use]
    pub fn message(&self) -> String {
        match self {
            Error::Socket { .. } => self.to_string(),
            Error::Call(status) => status.message().to_owned(),
        }
    }
}

/// The names that gRPC for Go prints.
fn code_name(code: tonic::Code) -> String {
    match code {
        tonic::Code::Cancelled => "Canceled".to_owned(),
        tonic::Code::Ok => "OK".to_owned(),
        other => format!("{other:?}"),
    }
}

/// A connection to a container runtime. Cheap to clone; reconnects by itself when the runtime restarts.
#[derive(Debug, Clone)]
pub struct Client {
    runtime: RuntimeServiceClient<Channel>,
    image: ImageServiceClient<Channel>,
}

impl Client {
    /// A client for the runtime that listens on `socket`, given with or without `unix://`. The connection is made by the
    /// first call. Needs a tokio runtime to be entered.
    ///
    /// # Errors
    /// The path is not UTF-8, or longer than a unix socket's may be.
    pub fn connect(socket: &Path) -> Result<Self, Error> {
        let refuse = |reason: &str| Error::Socket { path: socket.to_owned(), reason: reason.to_owned() };
        let text = socket.to_str().ok_or_else(|| refuse("not UTF-8"))?;
        let path = text.strip_prefix("unix://").unwrap_or(text);
        if path.len() > crate::SOCKET_PATH_LEN_MAX {
            return Err(refuse("longer than the 107 bytes that a unix socket's path may have"));
        }
        let endpoint = Endpoint::from_shared(format!("unix:{path}"))
            .map_err(|error| refuse(&error.to_string()))?
            .connect_timeout(CONNECT_TIMEOUT);
        let channel = endpoint.connect_lazy();
        Ok(Client {
            runtime: RuntimeServiceClient::new(channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX),
            image: ImageServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX),
        })
    }
}

/// `name(argument: Request) -> Response: deadline;` for each call of one service. `|request|` may look at the request to
/// find the deadline; `None` is none.
macro_rules! calls {
    ($service:ident: $($name:ident($request:ident) -> $response:ident: $timeout:expr;)*) => {
        impl Client {
            $(
                #[doc = concat!("CRI `", stringify!($request), "`.")]
                ///
                /// # Errors
                /// The runtime's refusal, or that of the connection to it.
                pub async fn $name(&self, request: v1::$request) -> Result<v1::$response, Error> {
                    let timeout: fn(&v1::$request) -> Option<Duration> = $timeout;
                    let timeout = timeout(&request);
                    let mut call = tonic::Request::new(request);
                    if let Some(timeout) = timeout {
                        call.set_timeout(timeout);
                    }
                    let answer = self.$service.clone().$name(call).await.map_err(Box::new)?;
                    Ok(answer.into_inner())
                }
            )*
        }
    };
}

/// A wait that the request asks for, on top of the usual deadline.
fn plus(seconds: i64) -> Option<Duration> {
    Some(CALL_TIMEOUT.saturating_add(Duration::from_secs(u64::try_from(seconds).unwrap_or(0))))
}

calls! { runtime:
    version(VersionRequest) -> VersionResponse: |_| Some(CALL_TIMEOUT);
    status(StatusRequest) -> StatusResponse: |_| Some(CALL_TIMEOUT);
    update_runtime_config(UpdateRuntimeConfigRequest) -> UpdateRuntimeConfigResponse: |_| Some(CALL_TIMEOUT);
    // Twice the usual: a sandbox may first need its image pulled.
    run_pod_sandbox(RunPodSandboxRequest) -> RunPodSandboxResponse: |_| Some(CALL_TIMEOUT * 2);
    stop_pod_sandbox(StopPodSandboxRequest) -> StopPodSandboxResponse: |_| Some(CALL_TIMEOUT);
    remove_pod_sandbox(RemovePodSandboxRequest) -> RemovePodSandboxResponse: |_| Some(CALL_TIMEOUT);
    pod_sandbox_status(PodSandboxStatusRequest) -> PodSandboxStatusResponse: |_| Some(CALL_TIMEOUT);
    list_pod_sandbox(ListPodSandboxRequest) -> ListPodSandboxResponse: |_| Some(CALL_TIMEOUT);
    create_container(CreateContainerRequest) -> CreateContainerResponse: |_| Some(CALL_TIMEOUT);
    start_container(StartContainerRequest) -> StartContainerResponse: |_| Some(CALL_TIMEOUT);
    stop_container(StopContainerRequest) -> StopContainerResponse: |request| plus(request.timeout);
    remove_container(RemoveContainerRequest) -> RemoveContainerResponse: |_| Some(CALL_TIMEOUT);
    list_containers(ListContainersRequest) -> ListContainersResponse: |_| Some(CALL_TIMEOUT);
    container_status(ContainerStatusRequest) -> ContainerStatusResponse: |_| Some(CALL_TIMEOUT);
    update_container_resources(UpdateContainerResourcesRequest) -> UpdateContainerResourcesResponse: |_| Some(CALL_TIMEOUT);
    reopen_container_log(ReopenContainerLogRequest) -> ReopenContainerLogResponse: |_| Some(CALL_TIMEOUT);
    // A time-out of 0 lets the command run for ever.
    exec_sync(ExecSyncRequest) -> ExecSyncResponse: |request| (request.timeout > 0).then(|| plus(request.timeout)).flatten();
    exec(ExecRequest) -> ExecResponse: |_| Some(CALL_TIMEOUT);
    attach(AttachRequest) -> AttachResponse: |_| Some(CALL_TIMEOUT);
    port_forward(PortForwardRequest) -> PortForwardResponse: |_| Some(CALL_TIMEOUT);
    container_stats(ContainerStatsRequest) -> ContainerStatsResponse: |_| Some(CALL_TIMEOUT);
    list_container_stats(ListContainerStatsRequest) -> ListContainerStatsResponse: |_| Some(CALL_TIMEOUT);
    pod_sandbox_stats(PodSandboxStatsRequest) -> PodSandboxStatsResponse: |_| Some(CALL_TIMEOUT);
    list_pod_sandbox_stats(ListPodSandboxStatsRequest) -> ListPodSandboxStatsResponse: |_| Some(CALL_TIMEOUT);
}

calls! { image:
    list_images(ListImagesRequest) -> ListImagesResponse: |_| Some(CALL_TIMEOUT);
    image_status(ImageStatusRequest) -> ImageStatusResponse: |_| Some(CALL_TIMEOUT);
    // A pull takes as long as it takes: the runtime ends one that makes no progress.
    pull_image(PullImageRequest) -> PullImageResponse: |_| None;
    remove_image(RemoveImageRequest) -> RemoveImageResponse: |_| Some(CALL_TIMEOUT);
    image_fs_info(ImageFsInfoRequest) -> ImageFsInfoResponse: |_| Some(CALL_TIMEOUT);
}
