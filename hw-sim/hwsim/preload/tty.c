/* A pseudo-terminal that behaves like a UART.
 *
 * Linux ptys drop PARENB and CSIZE, and glibc then reports EINVAL: a port with parity cannot be opened. We hide the
 * two in bits that a pty keeps and nobody uses (CMSPAR: parity is on; PENDIN: seven data bits), so the simulator can
 * read them at its end. Modem lines, RS-485 and low-latency settings are remembered per descriptor.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/serial.h>
#include <pthread.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "shim.h"

#ifndef CMSPAR
#define CMSPAR 010000000000
#endif

#define PTY_MAJOR_FIRST 136
#define PTY_MAJOR_LAST 143
#define MAX_FD 1024

struct port {
  dev_t device;
  int modem;
  struct serial_rs485 rs485;
  struct serial_struct serial;
};

static struct port ports[MAX_FD];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* The pty behind a descriptor, or 0. */
static dev_t pty_of(int fd) {
  struct stat found;
  if (fd < 0 || fd >= MAX_FD || fstat(fd, &found) || !S_ISCHR(found.st_mode)) return 0;
  unsigned number = major(found.st_rdev);
  return number >= PTY_MAJOR_FIRST && number <= PTY_MAJOR_LAST ? found.st_rdev : 0;
}

int tty_is_pty(int fd) { return pty_of(fd) != 0; }

/* The state of a port; a descriptor that now belongs to another pty begins anew. */
static struct port *port_of(int fd) {
  dev_t device = pty_of(fd);
  if (!device) return NULL;
  struct port *port = &ports[fd];
  if (port->device != device) {
    memset(port, 0, sizeof *port);
    port->device = device;
    port->modem = TIOCM_DTR | TIOCM_RTS | TIOCM_CTS | TIOCM_DSR | TIOCM_CAR;
  }
  return port;
}

/* Before the kernel sees the settings: parity and size move to where a pty keeps them. */
void tty_hide(struct termios *settings) {
  int parity = (settings->c_cflag & PARENB) != 0;
  int seven = (settings->c_cflag & CSIZE) == CS7;
  settings->c_cflag &= ~(tcflag_t)(PARENB | CSIZE | CMSPAR);
  settings->c_cflag |= CS8 | (parity ? CMSPAR : 0);
  settings->c_lflag &= ~(tcflag_t)PENDIN;
  settings->c_lflag |= seven ? PENDIN : 0;
}

/* After the kernel told its settings: and back again. */
void tty_show(struct termios *settings) {
  int parity = (settings->c_cflag & CMSPAR) != 0;
  int seven = (settings->c_lflag & PENDIN) != 0;
  settings->c_cflag &= ~(tcflag_t)(PARENB | CSIZE | CMSPAR);
  settings->c_cflag |= (seven ? CS7 : CS8) | (parity ? PARENB : 0);
  settings->c_lflag &= ~(tcflag_t)PENDIN;
}

int tty_knows(int fd, unsigned long request) {
  switch (request) {
    case TIOCMGET:
    case TIOCMSET:
    case TIOCMBIS:
    case TIOCMBIC:
    case TIOCGRS485:
    case TIOCSRS485:
    case TIOCGSERIAL:
    case TIOCSSERIAL:
      return tty_is_pty(fd);
    default:
      return 0;
  }
}

int tty_ioctl(int fd, unsigned long request, void *argument) {
  int waiting;
  /* A port that is hung up answers EIO to everything, as a pulled USB adapter does. */
  if (REAL(int, ioctl, int, unsigned long, ...)(fd, FIONREAD, &waiting)) return -1;
  pthread_mutex_lock(&lock);
  struct port *port = port_of(fd);
  int result = port ? 0 : -1;
  if (port) {
    switch (request) {
      case TIOCMGET: *(int *)argument = port->modem; break;
      case TIOCMSET: port->modem = *(int *)argument; break;
      case TIOCMBIS: port->modem |= *(int *)argument; break;
      case TIOCMBIC: port->modem &= ~*(int *)argument; break;
      case TIOCGRS485: memcpy(argument, &port->rs485, sizeof port->rs485); break;
      case TIOCSRS485: memcpy(&port->rs485, argument, sizeof port->rs485); break;
      case TIOCGSERIAL: memcpy(argument, &port->serial, sizeof port->serial); break;
      case TIOCSSERIAL: memcpy(&port->serial, argument, sizeof port->serial); break;
    }
  }
  pthread_mutex_unlock(&lock);
  return result;
}
