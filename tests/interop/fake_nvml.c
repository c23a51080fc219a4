/* A libnvidia-ml.so.1 of a machine with two GPUs, as far as device plug-ins ask: what is there, where it is, that it is
 * well. What is not here they find to be missing, as with an old driver. */

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { SUCCESS = 0, INVALID = 2, NOT_SUPPORTED = 3, TIMEOUT = 10, GPUS = 2 };

typedef struct gpu { int index; } *device_t;
typedef struct { char legacy[16]; unsigned domain, bus, device, id, subsystem; char bus_id[32]; } pci_t;
typedef struct { unsigned long long total, free, used; } memory_t;

static struct gpu gpus[GPUS] = {{0}, {1}};

int nvmlInit_v2(void) { return SUCCESS; }
int nvmlInitWithFlags(unsigned flags) { return SUCCESS; }
int nvmlShutdown(void) { return SUCCESS; }
const char *nvmlErrorString(int code) { return code == NOT_SUPPORTED ? "Not Supported" : "Fake"; }

int nvmlSystemGetDriverVersion(char *version, unsigned length) { return snprintf(version, length, "580.1") < 0; }
int nvmlSystemGetCudaDriverVersion_v2(int *version) { return *version = 13000, SUCCESS; }
int nvmlDeviceGetCount_v2(unsigned *count) { return *count = GPUS, SUCCESS; }

int nvmlDeviceGetHandleByIndex_v2(unsigned index, device_t *device) {
    if (index >= GPUS) return INVALID;
    return *device = &gpus[index], SUCCESS;
}

int nvmlDeviceGetUUID(device_t device, char *uuid, unsigned length) {
    return snprintf(uuid, length, "GPU-00000000-0000-4000-8000-00000000000%d", device->index) < 0;
}

int nvmlDeviceGetHandleByUUID(const char *uuid, device_t *device) {
    char own[96];
    for (int index = 0; index < GPUS; index++) {
        nvmlDeviceGetUUID(&gpus[index], own, sizeof own);
        if (!strcmp(own, uuid)) return *device = &gpus[index], SUCCESS;
    }
    return INVALID;
}

int nvmlDeviceGetIndex(device_t device, unsigned *index) { return *index = device->index, SUCCESS; }
int nvmlDeviceGetMinorNumber(device_t device, unsigned *minor) { return *minor = device->index, SUCCESS; }
int nvmlDeviceGetName(device_t device, char *name, unsigned length) { return snprintf(name, length, "Fake") < 0; }
int nvmlDeviceGetBrand(device_t device, int *brand) { return *brand = 0, SUCCESS; }
int nvmlDeviceGetCudaComputeCapability(device_t device, int *major, int *minor) { return *major = 9, *minor = 0, SUCCESS; }
int nvmlDeviceGetMigMode(device_t device, unsigned *current, unsigned *pending) { return NOT_SUPPORTED; }
int nvmlDeviceIsMigDeviceHandle(device_t device, unsigned *is) { return *is = 0, SUCCESS; }
int nvmlDeviceGetMaxMigDeviceCount(device_t device, unsigned *count) { return *count = 0, SUCCESS; }

int nvmlDeviceGetMemoryInfo(device_t device, memory_t *memory) {
    *memory = (memory_t){.total = 1ull << 34, .free = 1ull << 34};
    return SUCCESS;
}

int nvmlDeviceGetPciInfo_v3(device_t device, pci_t *pci) {
    *pci = (pci_t){.bus = 1 + device->index};
    snprintf(pci->legacy, sizeof pci->legacy, "0000:%02X:00.0", pci->bus);
    snprintf(pci->bus_id, sizeof pci->bus_id, "00000000:%02X:00.0", pci->bus);
    return SUCCESS;
}

/* Neighbours, without a link. */
int nvmlDeviceGetTopologyCommonAncestor(device_t one, device_t other, int *level) { return *level = 20, SUCCESS; }
int nvmlDeviceGetNvLinkState(device_t device, unsigned link, int *active) { return NOT_SUPPORTED; }

/* Nothing ever happens to them. */
int nvmlEventSetCreate(void **set) { return *set = gpus, SUCCESS; }
int nvmlEventSetFree(void *set) { return SUCCESS; }
int nvmlDeviceGetSupportedEventTypes(device_t device, unsigned long long *types) { return *types = 0x8, SUCCESS; }
int nvmlDeviceRegisterEvents(device_t device, unsigned long long types, void *set) { return SUCCESS; }
int nvmlEventSetWait_v2(void *set, void *event, unsigned milliseconds) { return usleep(1000 * milliseconds), TIMEOUT; }
