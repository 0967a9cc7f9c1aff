#include "sentry/net/interface.h"

#include <arpa/inet.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <vector>

namespace sentry::net {
namespace {

sockaddr internet_address(uint32_t address) {
  sockaddr_in in{};
  in.sin_family = AF_INET;
  in.sin_addr.s_addr = htonl(address);
  sockaddr general{};
  std::memcpy(&general, &in, sizeof general);
  return general;
}

void set_name(ifreq& request) {
  std::memset(request.ifr_name, 0, sizeof request.ifr_name);
  std::memcpy(request.ifr_name, kLoopbackName.data(), kLoopbackName.size());
}

// SIOCGIFCONF: one ifreq for each interface that fits; with a null buffer the size needed.
Result<uint64_t> list_interfaces(mm::AddressSpaceMap& memory, uint64_t argument) {
  struct GuestIfconf {
    int length;
    int padding;
    uint64_t buffer;
  };
  const mm::GuestPtr<GuestIfconf> place(argument);
  GuestIfconf conf = TRY(memory.read(place));
  ifreq lo{};
  set_name(lo);
  lo.ifr_addr = internet_address(INADDR_LOOPBACK);
  if (conf.buffer == 0) {
    conf.length = sizeof lo;
  } else if (conf.length >= static_cast<int>(sizeof lo)) {
    TRY(memory.write(conf.buffer, &lo, sizeof lo));
    conf.length = sizeof lo;
  } else {
    conf.length = 0;
  }
  TRY(memory.write(place, conf));
  return uint64_t{0};
}

}  // namespace

Result<uint64_t> interface_ioctl(mm::AddressSpaceMap& memory, int family, unsigned request,
                                 uint64_t argument) {
  switch (request) {
    case SIOCGIFCONF:
      return list_interfaces(memory, argument);
    case SIOCSIFFLAGS:
    case SIOCSIFADDR:
    case SIOCSIFNETMASK:
    case SIOCSIFBRDADDR:
    case SIOCSIFDSTADDR:
    case SIOCSIFMTU:
    case SIOCSIFHWADDR:
    case SIOCSIFNAME:
    case SIOCSIFTXQLEN:
    case SIOCADDRT:
    case SIOCDELRT:
      return Errno(EPERM);
    case SIOCGIFADDR:
    case SIOCGIFNETMASK:
    case SIOCGIFBRDADDR:
    case SIOCGIFDSTADDR:
      if (family != AF_INET) return Errno(ENOTTY);
      break;
    case SIOCGIFNAME:
    case SIOCGIFINDEX:
    case SIOCGIFFLAGS:
    case SIOCGIFMTU:
    case SIOCGIFMETRIC:
    case SIOCGIFHWADDR:
    case SIOCGIFTXQLEN:
    case SIOCGIFMAP:
      break;
    default:
      return Errno(ENOTTY);
  }
  const mm::GuestPtr<ifreq> place(argument);
  ifreq value = TRY(memory.read(place));
  if (request == SIOCGIFNAME) {
    if (value.ifr_ifindex != kLoopbackIndex) return Errno(ENODEV);
    set_name(value);
    TRY(memory.write(place, value));
    return uint64_t{0};
  }
  value.ifr_name[IFNAMSIZ - 1] = '\0';
  if (kLoopbackName != value.ifr_name) return Errno(ENODEV);
  std::memset(&value.ifr_ifru, 0, sizeof value.ifr_ifru);
  switch (request) {
    case SIOCGIFADDR:
    case SIOCGIFDSTADDR:
      value.ifr_addr = internet_address(INADDR_LOOPBACK);
      break;
    case SIOCGIFNETMASK:
      value.ifr_addr = internet_address(IN_CLASSA_NET);
      break;
    case SIOCGIFBRDADDR:
      value.ifr_addr = internet_address(INADDR_ANY);
      break;
    case SIOCGIFINDEX:
      value.ifr_ifindex = kLoopbackIndex;
      break;
    case SIOCGIFFLAGS:
      value.ifr_flags = IFF_UP | IFF_LOOPBACK | IFF_RUNNING;
      break;
    case SIOCGIFMTU:
      value.ifr_mtu = kLoopbackMtu;
      break;
    case SIOCGIFHWADDR:
      value.ifr_hwaddr.sa_family = ARPHRD_LOOPBACK;
      break;
    case SIOCGIFTXQLEN:
      value.ifr_qlen = 1000;
      break;
    default:  // SIOCGIFMETRIC, SIOCGIFMAP: zeros
      break;
  }
  TRY(memory.write(place, value));
  return uint64_t{0};
}

}  // namespace sentry::net
