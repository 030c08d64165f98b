//! Customers of the laboratory: a URL and numbers come in, requests over kept connections go out, and one line of JSON that says how
//! many were answered how. No instrumentation.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use clap::Parser;
use http::{Request, Uri};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// The mean time that one customer pauses.
const PAUSE: Duration = Duration::from_millis(10);
/// How many times as long as a wave took all rest, at least and at most.
const REST: (f64, f64) = (1.0, 2.0);
/// How long an answer may take.
const ANSWER_LIMIT: Duration = Duration::from_mins(1);

/// Each request has a context, but for a share of them (chosen by seed); half of them are sampled. One customer pauses at random; many
/// come in waves, each when the one before has passed, or with --steady without any rest.
#[derive(Parser)]
struct Options {
    url: Uri,
    /// How many requests at a time.
    #[arg(long)]
    connections: u32,
    /// How many in all.
    #[arg(long)]
    requests: u32,
    /// Send the next request as soon as one is answered.
    #[arg(long)]
    steady: bool,
    /// The share of requests without a context.
    #[arg(long, default_value_t = 0.0)]
    bare: f64,
    /// Flags of traceparent, each as often as the others.
    #[arg(long, value_delimiter = ',', default_value = "00,01")]
    flags: Vec<String>,
    /// What the trace id of each request begins with, in hexadecimal digits.
    #[arg(long, default_value = "")]
    ids: String,
    /// Headers of every request, NAME=VALUE; `{n}` in a value is the number of the request.
    #[arg(long = "with", value_parser = named)]
    more: Vec<(String, String)>,
}

fn named(text: &str) -> Result<(String, String), &'static str> {
    let (name, value) = text.split_once('=').ok_or("NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Numbers that are the same in each run: `SplitMix64` (Steele, Lea and Flood, 2014).
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to 1, without 1.
    #[allow(clippy::cast_precision_loss, reason = "53 bits have room")]
    fn share(&mut self) -> f64 {
        (self.roll() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn id(&mut self) -> String {
        format!("{:016x}", self.roll().max(1))
    }
}

struct Customers {
    options: Options,
    address: SocketAddr,
    wave: Barrier,
    /// When the wave began, and who says how long all rest.
    begun: Mutex<(Instant, Dice)>,
}

impl Customers {
    fn request(&self, number: u32, dice: &mut Dice) -> Result<Request<Empty<Bytes>>> {
        let Options { url, bare, flags, ids, more, .. } = &self.options;
        let mut request = Request::get(url.path()).header("host", self.address.to_string());
        for (name, value) in more {
            request = request.header(name, value.replace("{n}", &number.to_string()));
        }
        if dice.share() >= *bare {
            let count = u64::try_from(flags.len())?;
            let flags = &flags[usize::try_from(dice.roll() % count)?];
            let trace_id = format!("{ids}{}{}", dice.id(), dice.id());
            request = request.header("traceparent", format!("00-{}-{}-{flags}", &trace_id[..32], dice.id()));
        }
        Ok(request.body(Empty::new())?)
    }

    async fn connect(&self) -> Result<SendRequest<Empty<Bytes>>> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }

    /// One customer's requests; returns how they were answered.
    async fn shop(self: Arc<Self>, index: u32) -> Result<BTreeMap<u16, u32>> {
        let Options { connections, requests, steady, .. } = self.options;
        let (mut dice, mut statuses) = (Dice(index.into()), BTreeMap::new());
        let mut sender = self.connect().await?;
        for number in 0..requests / connections {
            if sender.ready().await.is_err() {
                // Some servers close a connection after an answer.
                sender = self.connect().await?;
                sender.ready().await?;
            }
            let answer = async {
                let answer = sender.send_request(self.request(number, &mut dice)?).await?;
                let status = answer.status().as_u16();
                answer.into_body().collect().await?;
                anyhow::Ok(status)
            };
            let status = timeout(ANSWER_LIMIT, answer).await.context("no answer")??;
            *statuses.entry(status).or_default() += 1;
            if connections == 1 {
                sleep(PAUSE.mul_f64(-(1.0 - dice.share()).ln())).await;
            } else if !steady {
                self.rest().await;
            }
        }
        Ok(statuses)
    }

    /// Waits until the wave has passed, and rests.
    async fn rest(&self) {
        if self.wave.wait().await.is_leader() {
            let pause = {
                let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
                let (least, most) = REST;
                let times = least + (most - least) * begun.1.share();
                begun.0.elapsed().mul_f64(times)
            };
            sleep(pause).await;
            self.begun.lock().unwrap_or_else(PoisonError::into_inner).0 = Instant::now();
        }
        self.wave.wait().await;
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let options = Options::parse();
    let address = options.url.authority().context("a URL with an address")?.as_str().parse()?;
    let count = options.connections;
    let wave = Barrier::new(usize::try_from(count)?);
    let customers = Arc::new(Customers { options, address, wave, begun: Mutex::new((Instant::now(), Dice(0))) });
    let mut shopping = JoinSet::new();
    for index in 0..count {
        shopping.spawn(Arc::clone(&customers).shop(index));
    }
    let mut statuses: BTreeMap<u16, u32> = BTreeMap::new();
    while let Some(answered) = shopping.join_next().await {
        for (status, count) in answered?? {
            *statuses.entry(status).or_default() += count;
        }
    }
    println!("{}", serde_json::to_string(&statuses)?);
    Ok(())
}
