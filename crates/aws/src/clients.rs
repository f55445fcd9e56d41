//! Clients of AWS: one configuration, one connection pool, and a client for each service that is created when it is first
//! needed.
//!
//! Creating it must send nothing, so that a function starts without the network. No operation may take longer than
//! [`OPERATION_TIMEOUT`], because a worker's time slot is short.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, ConfigLoader, Region, SdkConfig};
use aws_credential_types::Credentials;

use crate::transport::Transport;

/// Time limit of a connection attempt.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Time limit of one attempt.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(3);
/// Time limit of an operation, including all attempts and waits.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(8);
/// Maximum number of attempts. Only the SDK retries throttles, time-outs and statuses of 500 and above.
const ATTEMPTS_MAX: u32 = 3;
/// Waits between attempts begin at this and end at a second; both are drawn at random below.
const BACKOFF_MIN: Duration = Duration::from_millis(100);
/// The same for S3, where an attempt may carry megabytes.
const OBJECT_ATTEMPT_TIMEOUT: Duration = Duration::from_secs(20);
const OBJECT_OPERATION_TIMEOUT: Duration = Duration::from_mins(1);

/// The AWS account a process works with. Clones share everything.
#[derive(Debug, Clone)]
pub struct Aws(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: SdkConfig,
    sqs: OnceLock<aws_sdk_sqs::Client>,
    dynamodb: OnceLock<aws_sdk_dynamodb::Client>,
    s3: OnceLock<aws_sdk_s3::Client>,
    secretsmanager: OnceLock<aws_sdk_secretsmanager::Client>,
    ssm: OnceLock<aws_sdk_ssm::Client>,
    ecr: OnceLock<aws_sdk_ecr::Client>,
    sts: OnceLock<aws_sdk_sts::Client>,
    route53: OnceLock<aws_sdk_route53::Client>,
}

macro_rules! clients {
    ($($(#[$doc:meta])* $name:ident: $sdk:ident),+ $(,)?) => {
        impl Aws {
            $(
                $(#[$doc])*
                pub fn $name(&self) -> $sdk::Client {
                    self.0.$name.get_or_init(|| $sdk::Client::new(&self.0.config)).clone()
                }
            )+
        }
    };
}

clients!(
    /// The queue service.
    sqs: aws_sdk_sqs,
    /// The table service.
    dynamodb: aws_sdk_dynamodb,
    /// Secrets Manager.
    secretsmanager: aws_sdk_secretsmanager,
    /// The parameters of Systems Manager.
    ssm: aws_sdk_ssm,
    /// The registry service, for its tokens.
    ecr: aws_sdk_ecr,
    /// Roles of other accounts.
    sts: aws_sdk_sts,
    /// Hosted zones of DNS.
    route53: aws_sdk_route53,
);

impl Aws {
    /// The account of the environment, read like every AWS tool does (`AWS_REGION`, `AWS_PROFILE`, `AWS_ENDPOINT_URL`, …).
    /// Credentials are looked for when the first request needs them.
    pub async fn load() -> Self {
        // The default chain would ask an EC2 instance for its region: a second lost wherever there is none.
        let region = RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new())
            .or_else(ProfileFileRegionProvider::new());
        Self::of(loader().region(region).load().await)
    }

    /// An emulator at `endpoint` (`http://127.0.0.1:4566`), in `us-east-1`, with a key that means nothing.
    pub async fn emulated(endpoint: &str) -> Self {
        Self::emulated_as("emulator", endpoint).await
    }

    /// The same with the key of the root user, for an emulator that checks policies.
    pub async fn emulated_as_root(endpoint: &str) -> Self {
        Self::emulated_as("test", endpoint).await
    }

    async fn emulated_as(key: &'static str, endpoint: &str) -> Self {
        let credentials = Credentials::new(key, key, None, None, "emulator");
        let loader = loader()
            .region(Region::from_static("us-east-1"))
            .credentials_provider(credentials)
            .endpoint_url(endpoint);
        Self::of(loader.load().await)
    }

    fn of(config: SdkConfig) -> Self {
        Self(Arc::new(Inner {
            config,
            sqs: OnceLock::new(),
            dynamodb: OnceLock::new(),
            s3: OnceLock::new(),
            secretsmanager: OnceLock::new(),
            ssm: OnceLock::new(),
            ecr: OnceLock::new(),
            sts: OnceLock::new(),
            route53: OnceLock::new(),
        }))
    }

    /// The object service. An endpoint of one's own is asked by path: it has no name for every bucket.
    pub fn s3(&self) -> aws_sdk_s3::Client {
        let make = || {
            let config = &self.0.config;
            let timeouts = timeouts(OBJECT_ATTEMPT_TIMEOUT, OBJECT_OPERATION_TIMEOUT);
            let config = aws_sdk_s3::config::Builder::from(config)
                .timeout_config(timeouts)
                .force_path_style(config.endpoint_url().is_some());
            aws_sdk_s3::Client::from_conf(config.build())
        };
        self.0.s3.get_or_init(make).clone()
    }

    /// The region, where one is set: for messages.
    pub fn region(&self) -> Option<String> {
        self.0.config.region().map(ToString::to_string)
    }

    /// The configuration of the clients, to create a client for another account or region.
    pub fn config(&self) -> &SdkConfig {
        &self.0.config
    }
}

fn loader() -> ConfigLoader {
    aws_config::defaults(BehaviorVersion::latest())
        // Without this every service would have a connection pool of its own, and read the machine's certificates again.
        .http_client(Transport::new(CONNECT_TIMEOUT))
        .timeout_config(timeouts(ATTEMPT_TIMEOUT, OPERATION_TIMEOUT))
        .retry_config(
            RetryConfig::standard()
                .with_max_attempts(ATTEMPTS_MAX)
                .with_initial_backoff(BACKOFF_MIN)
                .with_max_backoff(Duration::from_secs(1)),
        )
}

fn timeouts(attempt: Duration, operation: Duration) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(attempt)
        .operation_timeout(operation)
        .build()
}
