/* LD_PRELOAD shim: makes simulated hardware look like the kernel's to unchanged libraries (pyserial, pymodbus, smbus2,
 * lgpio and rpi-lgpio, libgpiod 2, i2c-tools). The functions here stand in front of the C library's and hand on what
 * is none of ours.
 *
 * Not covered: dup of a simulated device, GPIO interface version 1, system calls made without the C library.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "shim.h"

#define SOCKET_PATH 108
#define I2C_MAJOR 89
#define GPIO_MAJOR 254

void *real_function(const char *name) { return dlsym(RTLD_NEXT, name); }

int tcgetattr(int fd, struct termios *settings) {
  int result = REAL(int, tcgetattr, int, struct termios *)(fd, settings);
  if (!result && tty_is_pty(fd)) tty_show(settings);
  return result;
}

int tcsetattr(int fd, int when, const struct termios *settings) {
  struct termios kept = *settings;
  if (tty_is_pty(fd)) tty_hide(&kept);
  return REAL(int, tcsetattr, int, int, const struct termios *)(fd, when, &kept);
}

int ioctl(int fd, unsigned long request, ...) {
  va_list rest;
  va_start(rest, request);
  void *argument = va_arg(rest, void *);
  va_end(rest);
  if (device_knows(fd)) return device_ioctl(fd, request, argument);
  if (tty_knows(fd, request & 0xffffffff)) return tty_ioctl(fd, request & 0xffffffff, argument);
  return REAL(int, ioctl, int, unsigned long, ...)(fd, request, argument);
}

#define OPEN_WITH_MODE                           \
  va_list rest;                                  \
  va_start(rest, flags);                         \
  int mode = va_arg(rest, int);                  \
  va_end(rest);                                  \
  char where[SOCKET_PATH];                       \
  enum device_kind kind = device_named(path, where, sizeof where); \
  if (kind != DEVICE_NONE) return device_open(kind, where, flags)

int open(const char *path, int flags, ...) {
  OPEN_WITH_MODE;
  return REAL(int, open, const char *, int, ...)(path, flags, mode);
}

int open64(const char *path, int flags, ...) {
  OPEN_WITH_MODE;
  return REAL(int, open64, const char *, int, ...)(path, flags, mode);
}

int openat(int folder, const char *path, int flags, ...) {
  OPEN_WITH_MODE;
  return REAL(int, openat, int, const char *, int, ...)(folder, path, flags, mode);
}

int openat64(int folder, const char *path, int flags, ...) {
  OPEN_WITH_MODE;
  return REAL(int, openat64, int, const char *, int, ...)(folder, path, flags, mode);
}

int close(int fd) {
  if (device_knows(fd)) device_close(fd);
  return REAL(int, close, int)(fd);
}

/* libgpiod and lgpio look before they open: a character device whose subsystem is "gpio". */
static int pretend(const char *path, struct stat *found) {
  char where[SOCKET_PATH];
  enum device_kind kind = device_named(path, where, sizeof where);
  if (kind == DEVICE_NONE) return 0;
  int number = atoi(path + strlen(kind == DEVICE_I2C ? "/dev/i2c-" : "/dev/gpiochip"));
  memset(found, 0, sizeof *found);
  found->st_mode = S_IFCHR | 0660;
  found->st_rdev = kind == DEVICE_I2C ? makedev(I2C_MAJOR, number) : makedev(GPIO_MAJOR, number);
  return 1;
}

int stat(const char *path, struct stat *found) {
  return pretend(path, found) ? 0 : REAL(int, stat, const char *, struct stat *)(path, found);
}

int lstat(const char *path, struct stat *found) {
  return pretend(path, found) ? 0 : REAL(int, lstat, const char *, struct stat *)(path, found);
}

int stat64(const char *path, struct stat64 *found) {
  return pretend(path, (struct stat *)found) ? 0 : REAL(int, stat64, const char *, struct stat64 *)(path, found);
}

int lstat64(const char *path, struct stat64 *found) {
  return pretend(path, (struct stat *)found) ? 0 : REAL(int, lstat64, const char *, struct stat64 *)(path, found);
}

char *realpath(const char *path, char *resolved) {
  static const char prefix[] = "/sys/dev/char/254:";
  if (path && getenv("HWSIM_DEVICES") && !strncmp(path, prefix, sizeof prefix - 1) && strstr(path, "/subsystem"))
    return strcpy(resolved ? resolved : malloc(PATH_MAX), "/sys/bus/gpio");
  return REAL(char *, realpath, const char *, char *)(path, resolved);
}
