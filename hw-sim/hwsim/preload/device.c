/* /dev/i2c-N and /dev/gpiochipN without a kernel driver: each is a SEQPACKET socket $HWSIM_DEVICES/<name> on which
 * a simulator listens. A request is a header and a payload, an answer is a 32-bit status (negative: errno) and a
 * payload, with a descriptor beside it when GPIO lines were requested.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/gpio.h>
#include <linux/i2c-dev.h>
#include <linux/i2c.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "shim.h"

#define MAX_FD 4096
#define MAX_BODY 65536

enum { ASK_I2C = 1, ASK_GPIO = 2, ASK_RELEASE = 3 };

struct header {
  uint32_t ask;
  uint32_t code; /* ioctl number (GPIO) or count of messages (I2C) */
  uint32_t lines; /* number of the line request */
  uint32_t size;
};

struct device {
  enum device_kind kind;
  int address; /* I2C_SLAVE */
  int socket;  /* where to ask: the descriptor itself, or for requested lines that of their chip */
  uint32_t lines;
};

static struct device devices[MAX_FD];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

enum device_kind device_named(const char *path, char *socket_path, size_t size) {
  const char *folder = getenv("HWSIM_DEVICES");
  if (!folder || !path || strncmp(path, "/dev/", 5)) return DEVICE_NONE;
  enum device_kind kind = !strncmp(path + 5, "i2c-", 4)       ? DEVICE_I2C
                          : !strncmp(path + 5, "gpiochip", 8) ? DEVICE_CHIP
                                                              : DEVICE_NONE;
  if (kind == DEVICE_NONE) return DEVICE_NONE;
  if (snprintf(socket_path, size, "%s/%s", folder, path + 5) >= (int)size) return DEVICE_NONE;
  return access(socket_path, F_OK) ? DEVICE_NONE : kind;
}

int device_open(enum device_kind kind, const char *socket_path, int flags) {
  struct sockaddr_un where = {.sun_family = AF_UNIX};
  strncpy(where.sun_path, socket_path, sizeof where.sun_path - 1);
  int fd = socket(AF_UNIX, SOCK_SEQPACKET | (flags & O_CLOEXEC ? SOCK_CLOEXEC : 0), 0);
  if (fd < 0) return -1;
  if (fd >= MAX_FD || connect(fd, (struct sockaddr *)&where, sizeof where)) {
    REAL(int, close, int)(fd);
    errno = ENODEV;
    return -1;
  }
  devices[fd] = (struct device){.kind = kind, .address = -1, .socket = fd};
  return fd;
}

int device_knows(int fd) { return fd >= 0 && fd < MAX_FD && devices[fd].kind != DEVICE_NONE; }

/* Ask the simulator; what it answers lands in `answer`. Returns its status, or -1 with errno. */
static int ask(int socket, struct header head, const void *body, void *answer, size_t room, int *passed) {
  static uint8_t packet[sizeof head + MAX_BODY];
  char control[CMSG_SPACE(sizeof(int))];
  struct iovec part = {packet, sizeof packet};
  struct msghdr message = {
      .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
  int32_t status = -ENODEV;
  pthread_mutex_lock(&lock);
  memcpy(packet, &head, sizeof head);
  if (head.size) memcpy(packet + sizeof head, body, head.size);
  ssize_t got = send(socket, packet, sizeof head + head.size, MSG_NOSIGNAL);
  if (got >= 0) got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  if (got >= (ssize_t)sizeof status) {
    memcpy(&status, packet, sizeof status);
    size_t told = (size_t)got - sizeof status;
    if (answer) memcpy(answer, packet + sizeof status, told < room ? told : room);
    struct cmsghdr *beside = CMSG_FIRSTHDR(&message);
    if (passed) *passed = beside && beside->cmsg_type == SCM_RIGHTS ? *(int *)CMSG_DATA(beside) : -1;
  }
  pthread_mutex_unlock(&lock);
  if (status < 0) {
    errno = -status;
    return -1;
  }
  return status;
}

/* ---- I2C */

static int i2c_transfer(int fd, struct i2c_msg *messages, uint32_t count) {
  static __thread uint8_t body[MAX_BODY], answer[MAX_BODY];
  size_t size = 0, at = 0;
  for (uint32_t i = 0; i < count; i++) {
    uint16_t words[3] = {messages[i].addr, messages[i].flags, messages[i].len};
    int writes = !(messages[i].flags & I2C_M_RD);
    if (size + sizeof words + messages[i].len > sizeof body) {
      errno = EINVAL;
      return -1;
    }
    memcpy(body + size, words, sizeof words);
    size += sizeof words;
    if (writes) memcpy(body + size, messages[i].buf, messages[i].len);
    if (writes) size += messages[i].len;
  }
  struct header head = {.ask = ASK_I2C, .code = count, .size = (uint32_t)size};
  if (ask(devices[fd].socket, head, body, answer, sizeof answer, NULL) < 0) return -1;
  for (uint32_t i = 0; i < count; i++) {
    if (!(messages[i].flags & I2C_M_RD)) continue;
    memcpy(messages[i].buf, answer + at, messages[i].len);
    at += messages[i].len;
  }
  return (int)count;
}

/* SMBus calls as plain transfers, the way the kernel's i2c_smbus_xfer_emulated builds them. */
static int smbus_transfer(int fd, struct i2c_smbus_ioctl_data *call) {
  uint8_t out[I2C_SMBUS_BLOCK_MAX + 3] = {call->command}, in[I2C_SMBUS_BLOCK_MAX + 2] = {0};
  union i2c_smbus_data *data = call->data;
  int reads = call->read_write == I2C_SMBUS_READ;
  uint16_t address = (uint16_t)devices[fd].address;
  struct i2c_msg messages[2] = {{address, 0, 1, out}, {address, I2C_M_RD, 0, in}};
  uint32_t count = reads ? 2 : 1;
  switch (call->size) {
    case I2C_SMBUS_QUICK:
      messages[0].len = 0;
      messages[0].flags = reads ? I2C_M_RD : 0;
      count = 1;
      break;
    case I2C_SMBUS_BYTE:
      if (reads) messages[0] = (struct i2c_msg){address, I2C_M_RD, 1, in};
      count = 1;
      break;
    case I2C_SMBUS_BYTE_DATA:
      messages[1].len = 1;
      if (!reads) messages[0].len = 2, out[1] = data->byte;
      break;
    case I2C_SMBUS_PROC_CALL:
    case I2C_SMBUS_WORD_DATA:
      messages[1].len = 2;
      if (call->size == I2C_SMBUS_PROC_CALL) reads = 0, count = 2;
      if (!reads) messages[0].len = 3, out[1] = (uint8_t)data->word, out[2] = (uint8_t)(data->word >> 8);
      break;
    case I2C_SMBUS_I2C_BLOCK_DATA:
    case I2C_SMBUS_I2C_BLOCK_BROKEN:
      if (data->block[0] > I2C_SMBUS_BLOCK_MAX) { errno = EINVAL; return -1; }
      messages[1].len = data->block[0];
      if (!reads) messages[0].len = 1 + data->block[0], memcpy(out + 1, data->block + 1, data->block[0]);
      break;
    default:
      errno = EOPNOTSUPP;
      return -1;
  }
  if (i2c_transfer(fd, messages, count) < 0) return -1;
  if (call->size == I2C_SMBUS_BYTE || call->size == I2C_SMBUS_BYTE_DATA) {
    if (reads) data->byte = in[0];
  } else if (call->size == I2C_SMBUS_PROC_CALL || (call->size == I2C_SMBUS_WORD_DATA && reads)) {
    data->word = (uint16_t)(in[0] | in[1] << 8);
  } else if (reads && call->size != I2C_SMBUS_QUICK) {
    memcpy(data->block + 1, in, messages[1].len);
  }
  return 0;
}

static int i2c_ioctl(int fd, unsigned long request, void *argument) {
  switch (request) {
    case I2C_SLAVE:
    case I2C_SLAVE_FORCE:
      devices[fd].address = (int)(long)argument;
      return 0;
    case I2C_FUNCS:
      *(unsigned long *)argument = I2C_FUNC_I2C | (I2C_FUNC_SMBUS_EMUL & ~I2C_FUNC_SMBUS_PEC);
      return 0;
    case I2C_RDWR: {
      struct i2c_rdwr_ioctl_data *call = argument;
      return i2c_transfer(fd, call->msgs, call->nmsgs);
    }
    case I2C_SMBUS:
      return smbus_transfer(fd, argument);
    case I2C_RETRIES:
    case I2C_TIMEOUT:
    case I2C_TENBIT:
    case I2C_PEC:
      return 0;
    default:
      errno = ENOTTY;
      return -1;
  }
}

/* ---- GPIO, version 2 of the kernel's interface */

static int gpio_ioctl(int fd, unsigned long request, void *argument) {
  size_t size = _IOC_SIZE(request);
  int passed = -1;
  if (_IOC_TYPE(request) != 0xB4 || size > 4096) {
    errno = ENOTTY;
    return -1;
  }
  struct header head = {ASK_GPIO, (uint32_t)_IOC_NR(request), devices[fd].lines, (uint32_t)size};
  int status = ask(devices[fd].socket, head, argument, argument, size, &passed);
  if (status < 0) return -1;
  if (request == GPIO_V2_GET_LINE_IOCTL && passed >= 0 && passed < MAX_FD) {
    devices[passed] = (struct device){DEVICE_LINES, -1, dup(devices[fd].socket), (uint32_t)status};
    ((struct gpio_v2_line_request *)argument)->fd = passed;
  }
  return 0;
}

int device_ioctl(int fd, unsigned long request, void *argument) {
  request &= 0xffffffff;
  return devices[fd].kind == DEVICE_I2C ? i2c_ioctl(fd, request, argument) : gpio_ioctl(fd, request, argument);
}

void device_close(int fd) {
  if (devices[fd].kind == DEVICE_LINES) {
    struct header head = {.ask = ASK_RELEASE, .lines = devices[fd].lines};
    ask(devices[fd].socket, head, NULL, NULL, 0, NULL);
    REAL(int, close, int)(devices[fd].socket);
  }
  devices[fd].kind = DEVICE_NONE;
}
