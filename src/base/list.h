/* An intrusive doubly linked list. An object is on a list when its node's `next` is not NULL. */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list_node {
    struct list_node *next;
    struct list_node *previous;
};

struct list {
    struct list_node root;
};

#define CONTAINER_OF(pointer, type, member) \
    ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

static inline void list_init(struct list *list)
{
    list->root.next = &list->root;
    list->root.previous = &list->root;
}

static inline bool list_is_empty(const struct list *list)
{
    return list->root.next == &list->root;
}

static inline bool list_node_is_linked(const struct list_node *node)
{
    return node->next != NULL;
}

static inline void list_append(struct list *list, struct list_node *node)
{
    node->previous = list->root.previous;
    node->next = &list->root;
    node->previous->next = node;
    list->root.previous = node;
}

static inline void list_prepend(struct list *list, struct list_node *node)
{
    node->next = list->root.next;
    node->previous = &list->root;
    node->next->previous = node;
    list->root.next = node;
}

/* Takes the node off its list; no effect when it is on none. */
static inline void list_remove(struct list_node *node)
{
    if (node->next == NULL)
        return;
    node->next->previous = node->previous;
    node->previous->next = node->next;
    node->next = NULL;
    node->previous = NULL;
}

/* The first node, or NULL. */
static inline struct list_node *list_first(const struct list *list)
{
    return list_is_empty(list) ? NULL : list->root.next;
}

/* Takes the first node off and returns it, or NULL. */
static inline struct list_node *list_pop(struct list *list)
{
    struct list_node *node = list_first(list);
    if (node != NULL)
        list_remove(node);
    return node;
}

/* The node behind `node`, or NULL at the end. */
static inline struct list_node *list_next(const struct list *list, const struct list_node *node)
{
    return node->next == &list->root ? NULL : node->next;
}

#endif
