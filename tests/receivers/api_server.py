"""An API server of Kubernetes, as far as a pod asks it: answers as a file says, to who shows the token in that file. Prints each request as a line
of JSON.

Arguments: the file; PEM files of a certificate and its key.

The file: `{"token": "…", "manner": "…", "status": 200, "answer": {…}}`, read anew for each request. `manner`: `say`, the answer; `never`, nothing;
`garbage`, what is no HTTP; `endless`, a body that does not end.

Or `{"users": {TOKEN: USER}, "objects": […]}`: a cluster's objects are got by their paths, by whom the Roles and RoleBindings among them let get them.
"""
import json
import re
import sys
import time

from speaking import Handler, say, serve


def refusal(code, reason, message):
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "reason": reason, "code": code}


def of_group(reference):
    return reference.get("apiGroup") == "rbac.authorization.k8s.io"


def allows(rule, group, resource, name, verb):
    def holds(key, wanted):
        return wanted in rule.get(key, []) or "*" in rule.get(key, [])

    named = rule.get("resourceNames", [])
    return holds("apiGroups", group) and holds("resources", resource) and holds("verbs", verb) and (not named or name in named)


def allowed(objects, user, namespace, *asked):
    """Whether a RoleBinding of the namespace gives the user a Role with such a rule."""
    inside = [one for one in objects if one["metadata"].get("namespace") == namespace]
    for binding in inside:
        if binding["kind"] != "RoleBinding" or not of_group(binding["roleRef"]) or binding["roleRef"]["kind"] != "Role":
            continue
        subjects = binding.get("subjects", [])
        accounts = [f"system:serviceaccount:{one.get('namespace')}:{one['name']}" for one in subjects if one["kind"] == "ServiceAccount"]
        roles = [one for one in inside if one["kind"] == "Role" and one["metadata"]["name"] == binding["roleRef"]["name"]]
        if user in accounts and any(allows(rule, *asked) for role in roles for rule in role["rules"]):
            return True
    return False


def judged(cluster, path, token):
    """Status and answer of a GET, as a cluster's API server finds them: who is it, may he, is it there?"""
    user = cluster["users"].get(token.removeprefix("Bearer ") if token else None)
    if user is None:
        return 401, refusal(401, "Unauthorized", "Unauthorized")
    parts = re.fullmatch("/apis/([^/]+)/([^/]+)/namespaces/([^/]+)/([^/]+)/([^/]+)", path)
    if parts is None:
        return 403, refusal(403, "Forbidden", f'User "{user}" cannot get path "{path}"')
    group, version, namespace, resource, name = parts.groups()
    if not allowed(cluster["objects"], user, namespace, group, resource, name, "get"):
        cannot = f'User "{user}" cannot get resource "{resource}" in API group "{group}" in the namespace "{namespace}"'
        return 403, refusal(403, "Forbidden", f'{resource}.{group} "{name}" is forbidden: {cannot}')
    for one in cluster["objects"]:
        key = (one["apiVersion"], one["kind"].lower() + "s", one["metadata"].get("namespace"), one["metadata"]["name"])
        if key == (f"{group}/{version}", resource, namespace, name):
            return 200, one
    missing = refusal(404, "NotFound", f'{resource}.{group} "{name}" not found')
    return 404, missing | {"details": {"name": name, "group": group, "kind": resource}}


class ApiServer(Handler):
    def do_GET(self):
        with open(sys.argv[1]) as file:
            wanted = json.load(file)
        token = self.headers["Authorization"]
        say({"asked": self.path, "authorization": token})
        if "users" in wanted:
            return self.object(*judged(wanted, self.path, token))
        if token != "Bearer " + wanted["token"]:
            return self.object(401, refusal(401, "Unauthorized", "Unauthorized"))
        if wanted["manner"] == "never":
            time.sleep(600)
        if wanted["manner"] == "garbage":
            return self.garbage()
        if wanted["manner"] == "endless":
            return self.endless()
        return self.object(wanted["status"], wanted["answer"])

    def object(self, status, value):
        self.answer(status, json.dumps(value).encode(), ("Content-Type", "application/json"))


serve(ApiServer, pair=sys.argv[2:4])
