// A Kafka broker and a producer, both of librdkafka.
//
//   kafka broker                                 librdkafka's mock cluster; prints "broker ADDRESS:PORT" and serves until it is ended
//   kafka produce ADDRESS TOPIC SECONDS SEED     produces as fast as the broker acknowledges and prints
//                                                "counted RECORDS MICROSECONDS ERRORS"
//
// Each record has a trace id of its own; one trace in ten is sampled.

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { VALUE_BYTES = 150, TENANTS = 4, SAMPLED_OF = 10, POLL_MS = 100 };

static uint64_t delivered, failed;

static void fail(const char *what) {
  fprintf(stderr, "%s\n", what);
  exit(1);
}

static void set(rd_kafka_conf_t *conf, const char *key, const char *value) {
  char why[512];
  if (rd_kafka_conf_set(conf, key, value, why, sizeof why) != RD_KAFKA_CONF_OK) fail(why);
}

static rd_kafka_t *client(rd_kafka_conf_t *conf) {
  char why[512];
  rd_kafka_t *kafka = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
  if (!kafka) fail(why);
  return kafka;
}

static void serve(void) {
  rd_kafka_conf_t *conf = rd_kafka_conf_new();
  set(conf, "test.mock.num.brokers", "1");
  rd_kafka_t *kafka = client(conf);
  printf("broker %s\n", rd_kafka_mock_cluster_bootstraps(rd_kafka_handle_mock_cluster(kafka)));
  fflush(stdout);
  for (;;) pause();
}

static void count(rd_kafka_t *kafka, const rd_kafka_message_t *message, void *opaque) {
  (void)kafka, (void)opaque;
  *(message->err ? &failed : &delivered) += 1;
}

// xorshift64* (Vigna 2016): trace ids need to differ, not more.
static uint64_t number(uint64_t *state) {
  *state ^= *state >> 12, *state ^= *state << 25, *state ^= *state >> 27;
  return *state * 0x2545F4914F6CDD1DULL;
}

// So many bytes of a number, as hexadecimal digits.
static char *hex(char *at, uint64_t value, int bytes) {
  for (int shift = bytes * 8 - 4; shift >= 0; shift -= 4) *at++ = "0123456789abcdef"[value >> shift & 15];
  return at;
}

// A traceparent (W3C Trace Context level 1).
static size_t traced(char *text, uint64_t *state) {
  char *at = stpcpy(text, "00-");
  at = hex(at, number(state), 8);
  at = stpcpy(hex(at, number(state), 8), "-");
  at = stpcpy(hex(at, number(state), 8), "-");
  at = stpcpy(at, number(state) % SAMPLED_OF == 0 ? "01" : "00");
  return (size_t)(at - text);
}

static uint64_t now_us(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static void produce(const char *address, const char *topic, uint64_t seconds, uint64_t seed) {
  static const char *const tenants[TENANTS] = {"acme", "globex", "initech", "umbrella"};
  rd_kafka_conf_t *conf = rd_kafka_conf_new();
  set(conf, "bootstrap.servers", address);
  // The default of Java's producer.
  set(conf, "batch.size", "16384");
  set(conf, "queue.buffering.max.messages", "10000");
  set(conf, "message.timeout.ms", "10000");
  // A record that is sent again would be seen twice and counted once.
  set(conf, "message.send.max.retries", "0");
  rd_kafka_conf_set_dr_msg_cb(conf, count);
  rd_kafka_t *kafka = client(conf);
  rd_kafka_topic_t *to = rd_kafka_topic_new(kafka, topic, NULL);
  if (!to) fail("no topic");

  char value[VALUE_BYTES], parent[64];
  memset(value, 'x', sizeof value);
  uint64_t state = seed + 1;
  const uint64_t begin = now_us(), end = begin + seconds * 1000000;
  while (now_us() < end) {
    const size_t length = traced(parent, &state);
    const char *tenant = tenants[number(&state) % TENANTS];
    rd_kafka_resp_err_t error;
    while ((error = rd_kafka_producev(kafka, RD_KAFKA_V_RKT(to), RD_KAFKA_V_PARTITION(RD_KAFKA_PARTITION_UA),
                                      RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_VALUE(value, sizeof value),
                                      RD_KAFKA_V_HEADER("traceparent", parent, length),
                                      RD_KAFKA_V_HEADER("x-tenant-id", tenant, strlen(tenant)),
                                      RD_KAFKA_V_END)) == RD_KAFKA_RESP_ERR__QUEUE_FULL)
      rd_kafka_poll(kafka, POLL_MS);
    if (error) fail(rd_kafka_err2str(error));
    rd_kafka_poll(kafka, 0);
  }
  while (rd_kafka_outq_len(kafka) > 0) rd_kafka_poll(kafka, POLL_MS);
  printf("counted %llu %llu %llu\n", (unsigned long long)delivered, (unsigned long long)(now_us() - begin),
         (unsigned long long)failed);
}

int main(int count_of, char **words) {
  if (count_of == 2 && !strcmp(words[1], "broker")) serve();
  if (count_of != 6 || strcmp(words[1], "produce")) fail("kafka broker | kafka produce ADDRESS TOPIC SECONDS SEED");
  produce(words[2], words[3], strtoull(words[4], NULL, 10), strtoull(words[5], NULL, 10));
  return 0;
}
