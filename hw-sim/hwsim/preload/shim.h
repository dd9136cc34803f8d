/* What the three parts of the shim share. See hook.c for what it is for. */
#ifndef HWSIM_SHIM_H
#define HWSIM_SHIM_H

#include <stddef.h>
#include <stdint.h>
#include <termios.h>

/* The C library's own function of this name, which ours stand in front of. */
void *real_function(const char *name);
#define REAL(result, name, ...) ((result(*)(__VA_ARGS__))real_function(#name))

/* tty.c: a pseudo-terminal with the manners of a UART. */
int tty_knows(int fd, unsigned long request);
int tty_ioctl(int fd, unsigned long request, void *argument);
void tty_hide(struct termios *settings);
void tty_show(struct termios *settings);
int tty_is_pty(int fd);

/* device.c: /dev/i2c-N and /dev/gpiochipN answered by a simulator behind a socket. */
enum device_kind { DEVICE_NONE, DEVICE_I2C, DEVICE_CHIP, DEVICE_LINES };
enum device_kind device_named(const char *path, char *socket_path, size_t size);
int device_open(enum device_kind kind, const char *socket_path, int flags);
int device_knows(int fd);
int device_ioctl(int fd, unsigned long request, void *argument);
void device_close(int fd);

#endif
