/* The description of the agent's REST API, src/agent/openapi.json, as the build has put it in. */
#ifndef AGENT_OPENAPI_H
#define AGENT_OPENAPI_H

#include <stddef.h>

extern const char openapi_document[];
extern const size_t openapi_document_size;

#endif
