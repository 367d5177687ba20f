use rand::Rng;
use tonic::{Request, Response, Status};
use warren_core::id::CustomerId;
use warren_wire::v1::{
    CreateCustomerRequest, Customer, DeleteCustomerRequest, DeleteCustomerResponse, ListCustomersRequest,
    ListCustomersResponse, ShowCustomerRequest, customers_server::Customers,
};

use super::{Api, clock::now_s, error::Problem};
use crate::store::{CustomerRecord, GroupRecord};

#[tonic::async_trait]
impl Customers for Api {
    async fn create(&self, request: Request<CreateCustomerRequest>) -> Result<Response<Customer>, Status> {
        let work = |api: Self, _, asked: CreateCustomerRequest| async move {
            let id = CustomerId::from_random(rand::rng().random());
            let customer = CustomerRecord { id, name: asked.name.parse()?, created_s: now_s() };
            api.context.store.create_customer(&customer).await?;
            Ok(shown(customer, &[]))
        };
        self.change(request, "customers.create", work, |asked| asked.name.clone()).await
    }

    async fn list(
        &self,
        _request: Request<ListCustomersRequest>,
    ) -> Result<Response<ListCustomersResponse>, Status> {
        let groups = self.context.store.groups().await.map_err(Problem::from)?;
        let customers = self.context.store.customers().await.map_err(Problem::from)?;
        let customers = customers.into_iter().map(|customer| shown(customer, &groups)).collect();
        Ok(Response::new(ListCustomersResponse { customers }))
    }

    async fn show(&self, request: Request<ShowCustomerRequest>) -> Result<Response<Customer>, Status> {
        let customer = self.find_customer(&request.into_inner().customer).await?;
        let groups = self.context.store.groups().await.map_err(Problem::from)?;
        Ok(Response::new(shown(customer, &groups)))
    }

    async fn delete(
        &self,
        request: Request<DeleteCustomerRequest>,
    ) -> Result<Response<DeleteCustomerResponse>, Status> {
        let work = |api: Self, _, asked: DeleteCustomerRequest| async move {
            let customer = api.find_customer(&asked.customer).await?;
            api.context.store.delete_customer(customer.id, now_s()).await?;
            Ok(DeleteCustomerResponse {})
        };
        self.change(request, "customers.delete", work, |asked| asked.customer.clone()).await
    }
}

fn shown(customer: CustomerRecord, groups: &[GroupRecord]) -> Customer {
    let own =
        groups.iter().filter(|group| group.customer.as_ref().is_some_and(|owner| owner.id == customer.id));
    Customer {
        id: customer.id.to_string(),
        name: customer.name.to_string(),
        created_s: customer.created_s,
        groups: own.map(|group| group.name.to_string()).collect(),
    }
}
